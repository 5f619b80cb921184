"""Events per second of a replay, as ``clawstead events replay`` asks for it, through proxy-sync's real handlers.

The real parts: nats-server, the log read in pages, the control requests, the handlers, the table, its publisher.
The edge is the fake one, as nginx has no part in what does not change. Cold: everything has to be routed and said;
warm: everything is as it should be, as in most recoveries. On a busy machine look at the processor's time: asker and
service are one process here.

    python -m benchmarks.replay_rate [--events 20000] [--instances 1000]
"""

import argparse
import asyncio
import logging
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import structlog

from clawstead_cli.asking import ask_service
from clawstead_cli.replaying import Position, replay
from clawstead_proxy_sync.publisher import MapPublisher
from clawstead_proxy_sync.reconcile import RouteKeeper
from clawstead_proxy_sync.routing import RouteTable
from clawstead_proxy_sync.subscribers import subscribe
from clawstead_shared import topology
from clawstead_shared.control import ReplayReport, ReplayRequest, Verb
from clawstead_shared.ids import new_instance_id
from clawstead_shared.messaging import Bus
from clawstead_shared.settings import BusSettings
from tests.support.factories import make_observed, observed_event
from tests.support.fake_edge import FakeEdge
from tests.support.nats_server import NatsServer

GOAL = 5000
SERVICE = "proxy-sync"
_AT_ONCE = 200


class Silent:
    """Keeps ``replaying.Watcher`` and shows nothing."""

    def moved(self, position: Position) -> None:
        """Pass over it."""


async def fill(bus: Bus, events: int, instances: int) -> None:
    """Write observations about ``instances`` in turn."""
    ids = [new_instance_id() for _ in range(instances)]

    async def write(number: int) -> None:
        port = 10000 + number % instances
        await bus.publish(
            observed_event(make_observed(ids[number % instances], generation=number // instances + 1, port=port)),
            timeout=timedelta(seconds=60),
        )

    for start in range(0, events, _AT_ONCE):
        await asyncio.gather(*(write(number) for number in range(start, min(start + _AT_ONCE, events))))


@asynccontextmanager
async def proxy_sync(bus: Bus) -> AsyncIterator[None]:
    """Have proxy-sync's rules answer operators while the block runs."""
    edge, table = FakeEdge(), RouteTable()
    publisher = MapPublisher(edge, table.routes, interval=timedelta(milliseconds=100))
    keeper = RouteKeeper(table, edge, publisher, bus, lambda label: f"{label}.test")
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(edge.run(lambda _: None)), group.create_task(publisher.run())]
        await edge.up()
        subscribe(bus, keeper)
        await bus.control.start(bus.broker.connection)
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def rate(bus: Bus, events: int, path: Path) -> tuple[float, float]:
    """Replay everything; return events per second, and per second of this process's time on the processor."""

    async def ask(request: ReplayRequest) -> ReplayReport:
        return await ask_service(bus.broker.connection, SERVICE, Verb.REPLAY, request, ReplayReport, timeout=300)

    position = Position(service=SERVICE, next=1, up_to=events, total=events)
    started, worked = time.perf_counter(), time.process_time()
    await replay(position, ask, Silent(), rate=None, path=path)
    seconds, worked = time.perf_counter() - started, time.process_time() - worked
    if (position.read, position.failed) != (events, 0):
        raise RuntimeError(f"{position.read} of {events} read, {position.failed} failed: {position.failures[:3]}")
    return events / seconds, events / worked


async def measure(server: NatsServer, directory: Path, events: int, instances: int) -> None:
    """Measure one cold replay and three warm ones."""
    bus = Bus(SERVICE, BusSettings(nats_url=server.url))
    await bus.connect()
    try:
        await topology.apply(bus.jetstream)
        await fill(bus, events, instances)
        async with proxy_sync(bus):
            print(f"{events} events of {instances} instances; goal {GOAL}/s")
            for name in ("cold", "warm", "warm", "warm"):
                by_clock, by_processor = await rate(bus, events, directory / "position.json")
                print(f"{name}  {by_clock:10,.0f} events/s  {by_processor:10,.0f} per second of processor")
    finally:
        await bus.close()


def main() -> None:
    """Start a server of our own, measure, and stop it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20000)
    parser.add_argument("--instances", type=int, default=1000)
    arguments = parser.parse_args()
    # A line for each route that changes would be most of what is measured.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory() as directory:
        server = NatsServer(Path(directory) / "nats")
        server.start()
        try:
            asyncio.run(measure(server, Path(directory), arguments.events, arguments.instances))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
