"""An installation that leaves nothing behind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.cli.installation import Installation
from tests.integration.cli.operator import Operator
from tests.support.nats_server import NatsServer
from tests.support.short_path import tmp_path

__all__ = ["tmp_path"]


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path)
    yield installation
    installation.close()


@pytest.fixture
def operator(nats_server: NatsServer, tmp_path: Path) -> Iterator[Operator]:
    operator = Operator(nats_server, tmp_path / "data")
    yield operator
    operator.close()
