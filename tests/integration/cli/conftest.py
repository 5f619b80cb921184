"""An installation that leaves nothing behind."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.installation import Installation


@pytest.fixture
def installation() -> Iterator[Installation]:
    # Not pytest's own directory: its path grows with each run, and a control socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="claw-") as directory:
        installation = Installation(Path(directory))
        yield installation
        installation.close()
