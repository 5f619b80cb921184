"""How long `clawstead rebuild proxy-sync` takes: the real process, a real nats-server and a real nginx.

    .venv/bin/python -m benchmarks.rebuild_map [--instances 10000] [--events 10]

Every instance has so many observations in the log, the last one running. Timed: a rebuild of a table that is true
(the map is made from the log, compared, and left), and one after the map file was cut short (written, tested and
loaded by nginx, until every worker serves it).
"""

import argparse
import asyncio
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

from clawstead_shared import topology
from clawstead_shared.control import RebuildReport
from clawstead_shared.events import Phase, encode
from clawstead_shared.ids import new_instance_id
from clawstead_shared.messaging import Bus
from clawstead_shared.settings import BusSettings
from clawstead_shared.streams import PROXY_SYNC, STATE_STREAM
from tests.support.factories import make_observed, observed_event
from tests.support.nats_server import NatsServer
from tests.support.proxy_sync_process import ProxySyncProcess
from tests.support.replaying import rebuild
from tests.support.wait import wait_until

_IN_FLIGHT = 500
_LIMIT_SECONDS = 5.0
_ROUNDS = 5


async def fill(bus: Bus, instances: int, events: int) -> None:
    """Write the log."""
    names = [new_instance_id() for _ in range(instances)]
    phases = [Phase.STARTING, Phase.RUNNING] * events
    for round_ in range(events):
        phase = phases[len(phases) - events + round_]
        for first in range(0, instances, _IN_FLIGHT):
            chunk = enumerate(names[first : first + _IN_FLIGHT], first)
            await asyncio.gather(*(_publish(bus, name, 10_000 + number, phase) for number, name in chunk))


async def _publish(bus: Bus, name: str, port: int, phase: Phase) -> None:
    event = observed_event(make_observed(name, phase=phase, port=port, container_id="c" * 64))
    headers, body = encode(event)
    await bus.jetstream.publish(event.subject, body, headers=headers, timeout=30)


@dataclass(frozen=True, slots=True)
class Round:
    """One rebuild: what the service says of it, and the seconds of CPU that it took of the service."""

    report: RebuildReport
    cpu_seconds: float


async def measure(bus: Bus, process: ProxySyncProcess) -> tuple[list[Round], list[Round]]:
    """Return rebuilds of a true table, and of a damaged map file."""
    true = [await one(bus, process) for _ in range(_ROUNDS)]
    damaged = []
    path = process.directory / "nginx" / "routes.map"
    for _ in range(_ROUNDS):
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
        damaged.append(await one(bus, process))
    return true, damaged


async def one(bus: Bus, process: ProxySyncProcess) -> Round:
    """Rebuild once."""
    before = psutil.Process(process.pid).cpu_times()
    report = await rebuild(bus, "proxy-sync")
    after = psutil.Process(process.pid).cpu_times()
    return Round(report, after.user + after.system - before.user - before.system)


def show(what: str, rounds: list[Round]) -> float:
    """Print what the rebuilds took; return the slowest."""
    seconds, cpu = [it.report.seconds for it in rounds], [it.cpu_seconds for it in rounds]
    print(
        f"{what}: median {statistics.median(seconds):.2f} s, slowest {max(seconds):.2f} s, "
        f"CPU {statistics.median(cpu):.2f} s, {rounds[0].report.entries} lines"
    )
    return max(seconds)


async def run(instances: int, events: int) -> bool:
    """Measure once; return whether every rebuild was fast enough and came to the same digest."""
    with tempfile.TemporaryDirectory() as folder:
        server = NatsServer(Path(folder) / "nats")
        server.start()
        bus = Bus("benchmark", BusSettings(nats_url=server.url))
        process = ProxySyncProcess(Path(folder), server, CLAWSTEAD_EDGE_CHECK_INTERVAL="3600")
        try:
            await bus.connect()
            await topology.apply(bus.jetstream)
            await fill(bus, instances, events)
            print(f"log: {await bus.log.last_sequence()} messages of {instances} instances")
            process.start()
            await wait_until(lambda: _served(process, instances), timeout=600, what="first table")
            await wait_until(lambda: _settled(bus), timeout=600, what="the log followed")
            true, damaged = await measure(bus, process)
        finally:
            process.stop()
            await bus.close()
            server.stop()
    slowest = max(show("true table, nginx not reloaded", true), show("damaged map, written and reloaded", damaged))
    digests = {it.report.after for it in true + damaged}
    print(f"digests: {len(digests)}, as it must be 1")
    return slowest <= _LIMIT_SECONDS and len(digests) == 1


async def _settled(bus: Bus) -> bool:
    info = await bus.jetstream.consumer_info(STATE_STREAM, PROXY_SYNC.durable)
    return not info.num_pending and not info.num_ack_pending


async def _served(process: ProxySyncProcess, instances: int) -> bool:
    return not await process.waiting() and await process.lines() >= instances


def main() -> None:
    """Parse, measure, and fail when it takes too long."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--instances", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=10)
    options = parser.parse_args()
    if not asyncio.run(run(options.instances, options.events)):
        raise SystemExit("too slow, or not the same twice")


if __name__ == "__main__":
    main()
