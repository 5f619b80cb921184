"""A directory whose path is short, as a control socket's must be: import ``tmp_path`` where a supervisor runs."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Not pytest's own, whose path is longer for tests that run side by side."""
    with tempfile.TemporaryDirectory(prefix="claw-") as directory:
        yield Path(directory)
