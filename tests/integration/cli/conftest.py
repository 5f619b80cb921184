"""An installation that leaves nothing behind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.installation import Installation


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path)
    yield installation
    installation.close()
