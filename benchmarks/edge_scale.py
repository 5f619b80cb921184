"""The edge with 10,000 routes: how much memory proxy-sync takes, and how soon it serves again after both were killed.

    .venv/bin/python -m benchmarks.edge_scale [--quick] [--routing live] [--instances 10000]

The real proxy-sync, nginx and nats-server. Timed from the start of the process: until the first 200 of a route, until
the service says that it is ready, and until the log is followed again. Both are killed, so nginx starts from the
stored table; and once more with the table and gates gone as well, so that all comes from the log. It fails when
proxy-sync holds more than 120 MB at one of the looks, or serves later than 2 s after a start from the stored table.
"""

import argparse
import asyncio
import contextlib
import shutil
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.edge.clawstead import Clawstead
from benchmarks.edge.load import backend
from benchmarks.edge.processes import pss_mib
from benchmarks.edge.visitor import Visitor
from benchmarks.figures import Limits
from clawstead_shared.ids import new_instance_id
from tests.support.replaying import rebuild
from tests.support.wait import wait_until

_ROUTINGS = ("live", "map")
_SETTLE_SECONDS = 5.0
_MOST_MB = 120
_MOST_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Again:
    """One start, in seconds."""

    serving: float
    ready: float
    cpu: float


def show_memory(when: str, ours: Clawstead) -> int:
    """Print what the processes hold; return how many bytes are resident for proxy-sync."""
    service = psutil.Process(ours.process.pid)
    nginx = ours.edge_processes()
    resident = service.memory_info().rss
    print(
        f"  {when}: proxy-sync RSS {resident / 2**20:.0f} MiB, PSS {pss_mib([service]):.0f} MiB; "
        f"nginx PSS {pss_mib(nginx):.0f} MiB in {len(nginx)} processes"
    )
    return resident


async def start_again(ours: Clawstead, label: str, *, forget: bool) -> Again:
    """Kill both, start proxy-sync, and wait until it serves and is ready."""
    nginx = ours.edge_processes()
    ours.process.kill()
    for process in nginx:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    await wait_until(lambda: not any(it.is_running() and it.status() != "zombie" for it in nginx), what="nginx ended")
    if forget:
        for folder in ("nginx", "ready"):
            shutil.rmtree(ours.process.directory / folder)
    begun = time.perf_counter()
    ours.process.start()
    async with Visitor(ours.port, ours.authority, label) as visitor:
        serving = await visitor.until_200(label, pause_seconds=0.005) - begun
    while await ours.process.waiting():
        await asyncio.sleep(0.01)
    ready = time.perf_counter() - begun
    times = psutil.Process(ours.process.pid).cpu_times()
    return Again(serving, ready, times.user + times.system)


def show(what: str, starts: list[Again]) -> None:
    """Print what the starts took."""
    serving, ready = [it.serving for it in starts], [it.ready for it in starts]
    print(
        f"  {what}: serving after {statistics.median(serving):.2f} s (slowest {max(serving):.2f}), "
        f"ready after {statistics.median(ready):.2f} s (slowest {max(ready):.2f}), "
        f"CPU {statistics.median(it.cpu for it in starts):.2f} s"
    )


async def scale(routing: str, instances: int, rounds: int, limits: Limits) -> None:
    """Measure one way of routing, and hold it against the limits."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edge-scale-")))
        folder.chmod(0o755)
        port = await stack.enter_async_context(backend(folder))
        ours = Clawstead(folder, routing)
        stack.push_async_callback(ours.stop)
        await ours.start()
        print(f"{routing}:")
        show_memory("empty", ours)
        names = [new_instance_id() for _ in range(instances)]
        begun = time.perf_counter()
        await ours.fill(dict.fromkeys(names, port))
        print(f"  {instances} routes followed and served {time.perf_counter() - begun:.1f} s after the first was told")
        most = show_memory("after that", ours)
        last = names[-1]
        starts = [await start_again(ours, last, forget=False) for _ in range(rounds)]
        show("both killed", starts)
        show("both killed, table and gates lost", [await start_again(ours, last, forget=True)])
        await asyncio.sleep(_SETTLE_SECONDS)
        most = max(most, show_memory("after a start", ours))
        report = await rebuild(ours.bus, "proxy-sync")
        same = "the same" if report.before == report.after else "another"
        print(f"  rebuild from the log: {report.seconds:.2f} s, {report.entries} lines, {same} digest")
        most = max(most, show_memory("after a rebuild", ours))
    limits.hold(f"{routing}, memory of proxy-sync", most / 1e6, _MOST_MB, "MB")
    limits.hold(f"{routing}, restart to serving", statistics.median(it.serving for it in starts), _MOST_SECONDS, "s")


async def run(options: argparse.Namespace) -> Limits:
    """Measure each way of routing; return how it compares with the limits."""
    limits = Limits()
    instances = options.instances or (1000 if options.quick else 10_000)
    ways, rounds = [options.routing] if options.routing else _ROUTINGS, 1 if options.quick else 3
    for routing in ways:
        await scale(routing, instances, rounds, limits)
    return limits


def main() -> None:
    """Parse, measure, and fail if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1,000 routes and one start of each kind")
    parser.add_argument("--routing", choices=_ROUTINGS, help="only this way of routing")
    parser.add_argument("--instances", type=int, help="another number of routes")
    asyncio.run(run(parser.parse_args())).end()


if __name__ == "__main__":
    main()
