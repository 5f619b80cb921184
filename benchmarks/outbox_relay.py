"""How fast the outbox is told to the bus: many instances, ``sync_interval: always``, rows as creations write them.

python -m benchmarks.outbox_relay [--instances 2000] [--changes 2]
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from clawstead_api import outbox, schema
from clawstead_api.adapters.nats_buckets import NatsBuckets
from clawstead_api.database import Database
from clawstead_shared import topology
from clawstead_shared.events import EventType
from clawstead_shared.messaging import Bus
from clawstead_shared.settings import BusSettings
from clawstead_shared.streams import STATE_STREAM
from tests.support.factories import make_desired
from tests.support.nats_server import NatsServer

SEALED = b"x" * 900
"""As large as the sealed parts of an instance with all three secrets."""


async def fill(database: Database, instances: int, changes: int, sealed: bytes | None) -> None:
    """Commit ``changes`` of each instance; the first of each brings secrets."""
    wishes = [make_desired() for _ in range(instances)]
    for generation in range(1, changes + 1):
        async with database.write() as session:
            for wish in wishes:
                newest = wish.model_copy(update={"generation": generation})
                outbox.publish(session, EventType.CREATED, newest, sealed if generation == 1 else None)


async def measure(server: NatsServer, directory: Path, instances: int, changes: int) -> None:
    """Print events per second, with secrets and without."""
    bus = Bus("bench", BusSettings(nats_url=server.url))
    await bus.connect()
    await topology.apply(bus.jetstream)
    database = Database(f"sqlite:///{directory / 'api.db'}")
    await schema.upgrade(database)
    relay = outbox.Relay(database, bus, NatsBuckets(bus), connected=lambda: bus.connected)
    stored = 0
    try:
        for name, sealed in (("events alone", None), ("each first event with secrets", SEALED)):
            await fill(database, instances, changes, sealed)
            begun = time.perf_counter()
            while await relay.drain():
                pass
            seconds = time.perf_counter() - begun
            stored += instances * changes
            assert (await bus.jetstream.stream_info(STATE_STREAM)).state.messages == stored
            print(f"{name:<32} {instances * changes} events  {seconds:6.2f} s  {instances * changes / seconds:7.0f}/s")
    finally:
        await database.close()
        await bus.close()


def main() -> None:
    """Start a server of our own, measure, and stop it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=2000)
    parser.add_argument("--changes", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        server = NatsServer(Path(directory) / "nats")
        server.start()
        try:
            asyncio.run(measure(server, Path(directory), arguments.instances, arguments.changes))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
