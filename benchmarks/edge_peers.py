"""How our edge compares with its peers: until a new route works, and what a request costs; all in the same run.

    .venv/bin/python -m benchmarks.edge_peers [--quick] [--only live,map,HAProxy]

The peers (HAProxy, Caddy, configurable-http-proxy) are fetched into .cache/benchmarks the first time. Everything is
on loopback, behind TLS with the same certificate, and leads to the same trivial backend.

Effective: from the call that adds a route to the first 200 under its new name, asked for without a pause. For ours
that call is publishing what the provisioner says, on a real nats-server whose log is synced to disk for each event:
once with a word ahead while the instance starts, as in life, and once as the first that is heard of it. Of that,
"since the log has the event" is what comes after the log's acknowledgement, when there is an event to react to.
Cost: CPU time of the edge's processes per request, for 32 kept connections, in turn with all others.

It fails when ours takes more than it may: with `live` 2 ms at the median since the log has the event of an instance
that was heard of before, with most routes no more than 1.5 times what it takes with 10; 120 ms with `map`; and, with
`live`, 1.5 times the CPU of an nginx with a static upstream, or 0.2 times that of configurable-http-proxy.
"""

import argparse
import asyncio
import contextlib
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.edge.clawstead import Clawstead
from benchmarks.edge.load import Load, backend, drive
from benchmarks.edge.peers import PEERS, Peer, StaticNginx
from benchmarks.edge.visitor import DOMAIN, Visitor
from benchmarks.figures import Limits, row
from clawstead_proxy_sync.adapters.local_ca import LocalAuthority
from clawstead_shared.events import Phase
from clawstead_shared.ids import new_instance_id

_ROUTINGS = ("live", "map")
_PAUSE_SECONDS = 0.03
_SIZE_SECONDS = 8.0
_AHEAD_SECONDS = 2.5
_MOST_MS = {"live": 2, "map": 120}
_FLAT = 1.5
_FLAT_FROM_MS = 1.0
"""Below that the clock and the machine decide, not the number of routes."""
_LIVE = "ours, live"
_MOST_CPU = {StaticNginx.name: 1.5, "configurable-http-proxy": 0.2}

Add = Callable[[str, int], Awaitable[None]]


class Bench:
    """What all measurements of one run share."""

    def __init__(self, folder: Path, backend_port: int, options: argparse.Namespace) -> None:
        self.folder = folder
        self.port = backend_port
        self.sizes = [10, 1000] if options.quick else [10, 1000, 10_000]
        self.adds = 15 if options.quick else 60
        self.rounds = 1 if options.quick else 3
        self.seconds = 2 if options.quick else 3
        self.only = options.only.split(",") if options.only else []
        self.authority = folder / "tls" / "ca.pem"
        self.certificate = folder / "certificate.pem"
        self.limits = Limits()

    async def prepare(self) -> None:
        """Make the certificate that the peers show."""
        made = await LocalAuthority(self.folder / "tls", DOMAIN).current()
        content = made.chain.read_bytes()
        self.certificate.write_bytes(content if made.key == made.chain else content + made.key.read_bytes())
        self.certificate.chmod(0o600)

    def wanted(self, name: str) -> bool:
        """Say whether the command line asks for this edge."""
        return not self.only or any(part in name for part in self.only)

    def routes(self, count: int) -> dict[str, int]:
        """Return new routes to the backend."""
        return {new_instance_id(): self.port for _ in range(count)}

    def own_folder(self, name: str) -> Path:
        """Return a new folder."""
        return Path(tempfile.mkdtemp(prefix=f"{name.split(maxsplit=1)[0].strip(',').lower()}-", dir=self.folder))


@dataclass(frozen=True, slots=True)
class Samples:
    """Milliseconds until routes worked: since the call that added each, and since that call was answered."""

    called: list[float]
    answered: list[float]


async def effective(visitor: Visitor, labels: list[str], port: int, add: Add) -> Samples:
    """Add routes one after the other; return how long each took."""
    samples = Samples([], [])
    begun = time.perf_counter()
    for label in labels:
        called = time.perf_counter()
        adding = asyncio.ensure_future(_timed(add(label, port)))
        try:
            worked = await visitor.until_200(label)
        finally:
            answered = await adding
        samples.called.append((worked - called) * 1000)
        samples.answered.append(max(worked - answered, 0) * 1000)
        if time.perf_counter() - begun > _SIZE_SECONDS:
            break
        await asyncio.sleep(_PAUSE_SECONDS)
    return samples


async def _timed(adding: Awaitable[None]) -> float:
    await adding
    return time.perf_counter()


async def effective_of_peer(bench: Bench, kind: type[Peer]) -> None:
    """Print how long a peer takes with few and with many routes."""
    for size in bench.sizes:
        peer = kind(bench.own_folder(kind.name), bench.certificate)
        routes = bench.routes(size)
        try:
            await peer.start(routes)
            async with Visitor(peer.port, bench.authority, next(iter(routes))) as visitor:
                await visitor.until_200(next(iter(routes)))
                labels = list(bench.routes(min(bench.adds, peer.most_adds)))
                samples = await effective(visitor, labels, bench.port, peer.add)
                print(row(f"{kind.name}, {size} routes", samples.called))
        finally:
            peer.stop()


async def effective_of_ours(bench: Bench, routing: str) -> dict[int, float]:
    """Print how long our edge takes with few and with many routes; return the medians by the number of routes."""
    ours = Clawstead(bench.own_folder("ours"), routing)
    first, known, medians = new_instance_id(), 1, dict[int, float]()
    try:
        await ours.start()
        await ours.fill({first: bench.port})
        async with Visitor(ours.port, ours.authority, first) as visitor:
            for size in bench.sizes:
                await ours.fill(bench.routes(max(size - known, 0)))
                known = size
                await visitor.until_200(first)
                labels = list(bench.routes(bench.adds))
                await asyncio.gather(*(ours.tell(label, bench.port, Phase.STARTING) for label in labels))
                await asyncio.sleep(_AHEAD_SECONDS)
                samples = await effective(visitor, labels, bench.port, ours.tell)
                print(row(f"ours, {routing}, {size} routes, heard of before", samples.called))
                print(row("    since the log has the event", samples.answered))
                medians[size] = statistics.median(samples.answered)
                samples = await effective(visitor, list(bench.routes(bench.adds)), bench.port, ours.tell)
                print(row(f"ours, {routing}, {size} routes, new", samples.called))
                known += 2 * bench.adds
    finally:
        await ours.stop()
    return medians


def judge_effective(limits: Limits, routing: str, medians: dict[int, float]) -> None:
    """Hold how long a new route took at the median, by the number of routes, against what is promised."""
    for size, median in medians.items():
        limits.hold(f"ours, {routing}, {size} routes, p50", median, _MOST_MS[routing], "ms")
    if routing == "live":
        few, many = (max(medians[size], _FLAT_FROM_MS) for size in (min(medians), max(medians)))
        limits.hold(f"ours, live, p50 with {max(medians)} routes by that with {min(medians)}", many / few, _FLAT)


async def cost(bench: Bench) -> None:
    """Print what a request costs each edge, and the ratios."""
    routes = bench.routes(1000)
    label = next(iter(routes))
    rounds: dict[str, list[Load]] = {}
    async with contextlib.AsyncExitStack() as stack:
        edges: list[tuple[str, int, Callable[[], list[psutil.Process]]]] = []
        kinds: tuple[type[Peer], ...] = (StaticNginx, *PEERS)
        for kind in kinds:
            if bench.wanted(kind.name):
                peer = kind(bench.own_folder(kind.name), bench.certificate)
                stack.callback(peer.stop)
                await peer.start(routes)
                assert peer.running
                edges.append((kind.name, peer.port, peer.running.tree))
        for routing in filter(bench.wanted, _ROUTINGS):
            ours = Clawstead(bench.own_folder("ours"), routing)
            stack.push_async_callback(ours.stop)
            await ours.start()
            await ours.fill(routes)
            edges.append((ours.name, ours.port, ours.all_processes))
        for _ in range(bench.rounds):
            for name, port, tree in edges:
                load = await asyncio.to_thread(drive, port, label, bench.seconds, tree, bench.folder)
                rounds.setdefault(name, []).append(load)
    cpu = {name: statistics.median(load.cpu_microseconds for load in loads) for name, loads in rounds.items()}
    show_cost(rounds, cpu)
    for other, most in _MOST_CPU.items():
        if _LIVE in cpu and other in cpu:
            bench.limits.hold(f"{_LIVE}, CPU by that of {other}", cpu[_LIVE] / cpu[other], most)


def show_cost(rounds: dict[str, list[Load]], cpu: dict[str, float]) -> None:
    """Print the medians, each also as a ratio to the ceiling and to configurable-http-proxy."""
    for name, loads in rounds.items():
        ratios = ", ".join(
            f"{cpu[name] / cpu[other]:.2f} x {other}" for other in _MOST_CPU if other in cpu and other != name
        )
        print(
            f"{name:<28} {statistics.median(load.per_second for load in loads):8.0f} req/s  "
            f"p99 {statistics.median(load.p99_ms for load in loads):6.1f} ms  CPU {cpu[name]:6.1f} us/request "
            f"({min(it.cpu_microseconds for it in loads):.1f} to {max(it.cpu_microseconds for it in loads):.1f})  "
            f"failed {sum(load.failed for load in loads)}  {ratios}"
        )


async def run(options: argparse.Namespace) -> Limits:
    """Measure everything once; return how it compares with the limits."""
    with tempfile.TemporaryDirectory(prefix="edge-peers-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        async with backend(folder) as port:
            bench = Bench(folder, port, options)
            await bench.prepare()
            if options.part != "cost":
                print("Route added until effective")
                for routing in filter(bench.wanted, _ROUTINGS):
                    judge_effective(bench.limits, routing, await effective_of_ours(bench, routing))
                for kind in PEERS:
                    if bench.wanted(kind.name):
                        await effective_of_peer(bench, kind)
            if options.part != "effective":
                print("Requests over TLS, 32 kept connections, 1000 routes")
                await cost(bench)
    return bench.limits


def main() -> None:
    """Parse, measure, and fail if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few samples and at most 1,000 routes: does it run?")
    parser.add_argument("--only", help="edges whose name holds one of these, separated by commas")
    parser.add_argument("--part", choices=["effective", "cost"], help="only this half")
    asyncio.run(run(parser.parse_args())).end()


if __name__ == "__main__":
    main()
