"""What visitors notice while 200 instances come and go in a minute, and what it costs nginx.

    .venv/bin/python -m benchmarks.edge_storm [--quick] [--routing live]

A real proxy-sync and nginx hear on a real nats-server of instances that start, run, are deleted and are gone. Each
has a listener that says whose it is, on a port that others had before and get after it. Meanwhile visitors of ten
steady instances send 200 requests a second, half of them over connections of their own, and keep 100 WebSockets
open, of which most were opened during the storm, so that as many generations of workers as possible hold some.
It fails when a figure is above its limit.
"""

import argparse
import asyncio
import contextlib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.edge.clawstead import Clawstead
from benchmarks.edge.processes import pss_mib
from benchmarks.edge.steady import Visitors
from benchmarks.edge.tenants import Tenant, Tenants
from benchmarks.edge.visitor import NotServedError, Visitor
from benchmarks.figures import Limits, row
from clawstead_shared.events import Phase
from clawstead_shared.ids import new_instance_id
from tests.support.wait import wait_until

_ROUTINGS = ("live", "map")
_STEADY = 10
_SOCKETS = 100
_SOCKETS_BEFORE = 40
_REQUESTS_PER_SECOND = 200
_BOOT_SECONDS = 0.3
_LIFE_SECONDS = 6.0
_LATE_SECONDS = 60.0
_MAP_RELOADS = 60
_MAP_MB = 250
_WORKERS = 2
_RELOADS = 'clawstead_edge_reloads_total{outcome="served"}'


@dataclass(slots=True)
class Peak:
    """The most that nginx took at once."""

    workers: int = 0
    pss_mib: float = 0.0


@dataclass(frozen=True, slots=True)
class End:
    """How many workers were left when all sessions were closed, and how long that took; reloads in all."""

    workers: int
    seconds: float
    reloads: float


@dataclass(slots=True)
class Lives:
    """What became of the instances that came and went."""

    until_200_ms: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Answers of another instance, or of none although it ran, or of one that was gone."""


class Storm:
    """One storm against one way of routing."""

    def __init__(self, ours: Clawstead, tenants: Tenants, visitors: Visitors, seconds: float, instances: int) -> None:
        self._ours = ours
        self._tenants = tenants
        self._visitors = visitors
        self._seconds = seconds
        self._instances = instances
        self.peak = Peak()
        self.lives = Lives()

    async def run(self) -> None:
        """Let it pass."""
        stop = asyncio.Event()
        during = _SOCKETS - _SOCKETS_BEFORE
        async with asyncio.TaskGroup() as talks:
            for _ in range(_SOCKETS_BEFORE):
                talks.create_task(self._visitors.talk(stop))
            requests = asyncio.create_task(self._visitors.ask(_REQUESTS_PER_SECOND))
            watch = asyncio.create_task(self._watch())
            try:
                async with asyncio.TaskGroup() as lives:
                    for number in range(self._instances):
                        lives.create_task(self._live())
                        if number * during // self._instances != (number + 1) * during // self._instances:
                            talks.create_task(self._visitors.talk(stop))
                        await asyncio.sleep(self._seconds / self._instances)
            finally:
                stop.set()
                for task in (requests, watch):
                    task.cancel()
                await asyncio.gather(requests, watch, return_exceptions=True)

    async def _live(self) -> None:
        label = new_instance_id()
        tenant = self._tenants.let(label)
        await self._ours.tell(label, tenant.port, Phase.STARTING)
        await asyncio.sleep(_BOOT_SECONDS)
        await self._visit(label, tenant)
        for phase in (Phase.DELETING, Phase.REMOVED):
            await self._ours.tell(label, tenant.port, phase)
        self._tenants.give_back(tenant)

    async def _visit(self, label: str, tenant: Tenant) -> None:
        loop = asyncio.get_running_loop()
        async with Visitor(self._ours.port, self._ours.authority, label) as visitor:
            told = loop.time()
            await self._ours.tell(label, tenant.port)
            try:
                await visitor.until_200(label, pause_seconds=0.002)
            except NotServedError as error:
                self.lives.wrong.append(f"never served: {error}")
                return
            self.lives.until_200_ms.append((loop.time() - told) * 1000)
            while loop.time() < told + _LIFE_SECONDS:
                answer = await visitor.ask(label)
                if answer and (answer.status != 200 or answer.body.decode() != label):
                    self.lives.wrong.append(f"{answer.status} {answer.body[:60]!r} for {label}")
                await asyncio.sleep(0.5)

    async def _watch(self) -> None:
        while True:
            processes = self._ours.edge_processes()
            self.peak.workers = max(self.peak.workers, len(processes) - 1)
            self.peak.pss_mib = max(self.peak.pss_mib, await asyncio.to_thread(pss_mib, processes))
            await asyncio.sleep(0.5)


async def storm(routing: str, seconds: float, instances: int, limits: Limits) -> None:
    """Run a storm, print what it came to, and hold it against the limits."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-storm-")))
        ours = Clawstead(folder, routing)
        tenants = Tenants(_STEADY + round(instances / seconds * (_LIFE_SECONDS + 6)))
        stack.push_async_callback(tenants.stop)
        stack.push_async_callback(ours.stop)
        await tenants.start()
        await ours.start()
        steady = [new_instance_id() for _ in range(_STEADY)]
        await ours.fill({label: tenants.let(label).port for label in steady})
        await wait_until(lambda: _gates(ours) == set(steady), what="steady routes open")
        visitors = Visitors(ours.port, ours.authority, steady)
        reloads = await ours.process.metric(_RELOADS)
        it = Storm(ours, tenants, visitors, seconds, instances)
        await it.run()
        reloads = await ours.process.metric(_RELOADS) - reloads
        end = End(*await _back_to_two(ours), reloads)
    show(routing, it, visitors, end)
    judge(routing, it, visitors, end, limits)


def _gates(ours: Clawstead) -> set[str]:
    return ours.process.gates


async def _back_to_two(ours: Clawstead) -> tuple[int, float]:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while (workers := len(ours.edge_processes()) - 1) > _WORKERS and loop.time() - begun < _LATE_SECONDS:
        await asyncio.sleep(0.1)
    return workers, loop.time() - begun


def show(routing: str, it: Storm, visitors: Visitors, end: End) -> None:
    """Print the figures, and an example of each thing that went wrong."""
    toll = visitors.toll
    print(f"{routing}: {len(it.lives.until_200_ms)} instances came and went; {end.reloads:.0f} reloads")
    print(f"  WebSockets: {toll.sockets} opened, {len(toll.dropped)} dropped")
    print(
        f"  requests: {toll.requests}, {len(toll.failed)} failed, "
        f"{len(toll.reused)} cut on a reused connection before the answer began"
    )
    print(f"  instances: {len(it.lives.wrong)} wrong answers")
    print(
        f"  nginx: at most {it.peak.workers} workers, {it.peak.pss_mib:.0f} MiB PSS; "
        f"workers at the end: {end.workers} after {end.seconds:.1f} s"
    )
    print(row(f"  {routing}: running -> 200, in the storm", it.lives.until_200_ms))
    for what in (toll.dropped, toll.failed, toll.reused, it.lives.wrong):
        if what:
            print(f"  for example: {what[0]}")


def judge(routing: str, it: Storm, visitors: Visitors, end: End, limits: Limits) -> None:
    """Hold a storm against what each way of routing promises."""
    toll = visitors.toll
    limits.hold(f"{routing}, WebSockets dropped", len(toll.dropped), 0)
    limits.hold(f"{routing}, wrong answers of instances", len(it.lives.wrong), 0)
    limits.hold(f"{routing}, workers at the end", end.workers, _WORKERS)
    if routing == "live":
        # Without a reload no worker ends, so nothing excuses a reused connection that is cut.
        limits.hold(f"{routing}, failed requests", len(toll.failed) + len(toll.reused), 0)
        limits.hold(f"{routing}, reloads", end.reloads, 0)
    else:
        limits.hold(f"{routing}, reloads", end.reloads, _MAP_RELOADS)
        limits.hold(f"{routing}, nginx's memory", it.peak.pss_mib * 2**20 / 1e6, _MAP_MB, "MB")


async def run(options: argparse.Namespace) -> Limits:
    """Run a storm for each way of routing; return how it compares with the limits."""
    limits = Limits()
    seconds, instances = (15, 50) if options.quick else (60, 200)
    for routing in [options.routing] if options.routing else _ROUTINGS:
        await storm(routing, seconds, instances, limits)
    return limits


def main() -> None:
    """Parse, measure, and fail if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a quarter of the time and of the instances")
    parser.add_argument("--routing", choices=_ROUTINGS, help="only this way of routing")
    asyncio.run(run(parser.parse_args())).end()


if __name__ == "__main__":
    main()
