"""How long the API takes to make its read model anew from the log, and to start with as many instances.

The real parts: nats-server, SQLite, the projector. Replay goes through the real handler in pages of 1000. The
first rebuild adds the owners, whom a database without instances does not know.

    python -m benchmarks.rebuild_api [--instances 10000] [--events 10] [--postgresql]
"""

import argparse
import asyncio
import resource
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from clawstead_api import schema
from clawstead_api.adapters.nats_log import NatsLog
from clawstead_api.database import Database
from clawstead_api.feed import Feed
from clawstead_api.projector import Projector
from clawstead_api.rebuild import Rebuilder
from clawstead_shared import topology
from clawstead_shared.events import Event, EventType, Health, Payload, Phase, Route, Verdict, encode
from clawstead_shared.messaging import Bus
from clawstead_shared.messaging.log import PAGE
from clawstead_shared.settings import BusSettings
from clawstead_shared.streams import STATE_STREAM
from tests.support.factories import desired_event, make_desired, make_observed, observed_event
from tests.support.nats_server import NatsServer
from tests.support.postgres_server import PostgresServer

_PHASES = (Phase.PROVISIONING, Phase.STARTING, Phase.RUNNING, Phase.STOPPING, Phase.STOPPED)


def life(events: int) -> Iterator[Event[Payload]]:
    """Yield what happens to one instance: mostly observations."""
    wish = make_desired()
    yield desired_event(wish)
    yield Event(
        EventType.ROUTE_CHANGED,
        "proxy-sync",
        Route(instance_id=wish.instance_id, generation=1, hostname="h", active=True, map_generation=1),
    )
    yield Event(
        EventType.VERDICT_CHANGED,
        "health",
        Health(instance_id=wish.instance_id, verdict=Verdict.HEALTHY, since=datetime.now(UTC), failures=0),
    )
    for number in range(events - 3):
        yield observed_event(make_observed(wish.instance_id, generation=1, phase=_PHASES[number % len(_PHASES)]))


async def fill(bus: Bus, instances: int, events: int) -> None:
    """Write the log, many at once."""
    places = asyncio.Semaphore(256)

    async def publish(event: Event[Payload]) -> None:
        headers, body = encode(event)
        async with places:
            await bus.jetstream.publish(event.subject, body, stream=STATE_STREAM, headers=headers, timeout=60)

    for begin in range(0, instances, 500):
        lives = [list(life(events)) for _ in range(min(500, instances - begin))]
        for moment in zip(*lives, strict=True):
            await asyncio.gather(*map(publish, moment))


async def measure(bus: Bus, database: Database, instances: int, events: int) -> None:
    """Print seconds of each way to read the whole log."""
    await bus.connect()
    await topology.apply(bus.jetstream)
    await schema.upgrade(database)

    async def nothing(*_: object) -> list[object]:
        return []

    archive = NatsLog(bus)
    projector = Projector(database, bus, archive, Feed(nothing), wake=lambda: None)  # type: ignore[arg-type]
    await projector.catch_up()
    await fill(bus, instances, events)
    total, begun = instances * events, time.perf_counter()
    start = 1
    while True:
        page = await archive.page(start=start, limit=PAGE)
        await projector.take_in_batch([message.event() for message in page.messages])
        if not page.left:
            break
        start = page.messages[-1].sequence + 1
    report("replay into an empty projection", total, time.perf_counter() - begun)
    for name in ("rebuild beside the same", "rebuild again"):
        done = await Rebuilder(database, archive, projector).answer(b"")
        report(name, total, done.seconds)
        print(f"    {done.entries} entries, {done.before[:16]} -> {done.after[:16]}")
    begun = time.perf_counter()
    await projector.catch_up()
    report("present of all instances at a start", instances, time.perf_counter() - begun)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")


def report(name: str, events: int, seconds: float) -> None:
    """Print one line."""
    print(f"{name:<38} {events:>7} events {seconds:7.2f} s {events / seconds:9.0f}/s", flush=True)


async def run(bus: Bus, url: str, instances: int, events: int) -> None:
    """Measure, and close what was opened."""
    database = Database(url)
    try:
        await measure(bus, database, instances, events)
    finally:
        await database.close()
        await bus.close()


def main() -> None:
    """Start servers of our own, measure, and stop them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=10)
    parser.add_argument("--postgresql", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        server, url, postgres = NatsServer(Path(directory) / "nats"), f"sqlite:///{directory}/api.db", None
        server.start()
        if arguments.postgresql:
            postgres = PostgresServer()
            postgres.start()
            url = f"postgresql://clawstead@127.0.0.1:{postgres.port}/postgres"
        try:
            bus = Bus("bench", BusSettings(nats_url=server.url))
            asyncio.run(run(bus, url, arguments.instances, arguments.events))
        finally:
            server.stop()
            if postgres:
                postgres.stop()


if __name__ == "__main__":
    main()
