"""From a committed transaction to the start of a handler in another process, through outbox and JetStream.

The real parts: SQLite, the API's outbox and relay, nats-server with ``sync_interval: always``, the declared
consumer, the delivery rules. Paced, since a burst would measure the queue.

    python -m benchmarks.commit_to_handler [--samples 1000] [--rate 100]
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from sqlmodel.ext.asyncio.session import AsyncSession

from benchmarks.figures import row
from clawstead_api import outbox, schema
from clawstead_api.adapters.nats_buckets import NatsBuckets
from clawstead_api.database import Database
from clawstead_shared import topology
from clawstead_shared.events import Desired, Event, EventType
from clawstead_shared.messaging import Bus
from clawstead_shared.settings import BusSettings
from clawstead_shared.streams import PROVISIONER
from clawstead_shared.subjects import Topic
from tests.support.factories import make_desired
from tests.support.nats_server import NatsServer


async def consume(url: str) -> None:
    """Print the instance and the nanosecond at which each handler began, until ended."""
    bus = Bus("bench-consumer", BusSettings(nats_url=url))

    async def handler(event: Event[Desired]) -> None:
        print(event.instance_id, time.time_ns(), flush=True)

    bus.consume(PROVISIONER, {Topic.DESIRED: handler})
    await bus.connect()
    await bus.start()
    print("ready", flush=True)
    await asyncio.Event().wait()


async def produce(database: Database, relay: outbox.Relay, samples: int, rate: float) -> dict[str, int]:
    """Commit ``samples`` events, ``rate`` per second; return when each commit ended, in nanoseconds."""
    committed: dict[str, int] = {}
    begun = time.monotonic()
    for number in range(samples):
        desired = make_desired()

        async def work(session: AsyncSession, desired: Desired = desired) -> None:
            outbox.publish(session, EventType.CREATED, desired)

        await database.transact(work)
        committed[desired.instance_id] = time.time_ns()
        relay.wake()
        await asyncio.sleep(max(0, begun + (number + 1) / rate - time.monotonic()))
    return committed


async def measure(server: NatsServer, directory: Path, samples: int, rate: float) -> None:
    """Run producer and consumer, print the distribution."""
    bus = Bus("bench-producer", BusSettings(nats_url=server.url))
    await bus.connect()
    await topology.apply(bus.jetstream)
    database = Database(f"sqlite:///{directory / 'api.db'}")
    await schema.upgrade(database)
    relay = outbox.Relay(database, bus, NatsBuckets(bus), connected=lambda: bus.connected)
    consumer = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.commit_to_handler", "--consume", server.url, stdout=asyncio.subprocess.PIPE
    )
    assert consumer.stdout
    relaying = asyncio.create_task(relay.run())
    try:
        await asyncio.wait_for(consumer.stdout.readline(), 30)
        committed = await produce(database, relay, samples, rate)
        started: dict[str, int] = {}
        while len(started) < samples:
            instance_id, moment = (await asyncio.wait_for(consumer.stdout.readline(), 30)).split()
            started[instance_id.decode()] = int(moment)
    finally:
        consumer.terminate()
        await consumer.wait()
        relaying.cancel()
        await asyncio.wait({relaying})
        await database.close()
        await bus.close()
    print(row(f"commit -> handler start, {rate:g}/s", [(started[key] - at) / 1e6 for key, at in committed.items()]))


def main() -> None:
    """Start a server of our own, measure, and stop it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--consume", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.consume:
        asyncio.run(consume(arguments.consume))
        return
    with tempfile.TemporaryDirectory() as directory:
        server = NatsServer(Path(directory) / "nats")
        server.start()
        try:
            asyncio.run(measure(server, Path(directory), arguments.samples, arguments.rate))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
