"""Real parts that the tests of several services use."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from clawstead_shared import topology
from clawstead_shared.messaging import Bus
from clawstead_shared.settings import BusSettings
from tests.support.nats_server import NatsServer


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    """A running server without streams."""
    server = NatsServer(tmp_path / "nats")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def bus(nats_server: NatsServer) -> AsyncIterator[Bus]:
    """A connected bus on a server where the streams are declared."""
    bus = Bus("test", BusSettings(nats_url=nats_server.url))
    await bus.connect()
    await topology.apply(bus.jetstream)
    yield bus
    await bus.close()
