"""Fixtures that every level of the pyramid may use."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import structlog

from clawstead_shared import topology
from clawstead_shared.messaging import Bus
from clawstead_shared.settings import BusSettings
from tests.support.nats_server import NatsServer

pytest.register_assert_rewrite("tests.support.invariants")  # a chaos run that fails has to say what it found

# The default prints every local variable of every frame: seconds of work inside the event loop, and secrets.
_renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
structlog.configure(processors=[*structlog.get_config()["processors"][:-1], _renderer])


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
