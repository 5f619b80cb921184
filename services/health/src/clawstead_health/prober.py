"""When each instance is probed: its own phase of the interval, and at once where there is news.

A due time per instance waits in a heap; a bounded number of probes run at once, and while all are busy the
due ones wait in order. The phase is a hash of the id, so probes are spread evenly and a restart keeps them so.
"""

import asyncio
import heapq
import math
from collections.abc import Awaitable, Callable
from datetime import timedelta
from hashlib import blake2b

import structlog
from prometheus_client import Counter, Histogram

log = structlog.get_logger()

Probe = Callable[[str], Awaitable[timedelta | None]]
"""Probes one instance, and says how soon again; None for its next place in the interval."""

LATENESS = Histogram(
    "clawstead_probe_lateness_seconds",
    "From a probe's due time to its start",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 15),
)
DEFECTS = Counter("clawstead_probe_defects_total", "Probes that ended in an unexpected error")


class Prober:
    """The schedule of all probes."""

    def __init__(self, probe: Probe, *, interval: timedelta, concurrency: int) -> None:
        self._probe = probe
        self._interval = interval.total_seconds()
        self._slots = asyncio.Semaphore(concurrency)
        self._watched: set[str] = set()
        self._due: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []
        self._news = asyncio.Event()

    def watch(self, instance_id: str, *, at_once: bool = False) -> None:
        """Keep probing ``instance_id``; ``at_once`` also when it is watched already."""
        known = instance_id in self._watched
        self._watched.add(instance_id)
        if at_once:
            self._schedule(instance_id, self._now())
        elif not known:
            self._schedule(instance_id, self._next_place(instance_id))

    def forget(self, instance_id: str) -> None:
        """Stop probing ``instance_id``; a probe that is under way ends by itself."""
        self._watched.discard(instance_id)
        self._due.pop(instance_id, None)

    async def run(self) -> None:
        """Probe until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._slots.acquire()
                instance_id = await self._next_due()
                group.create_task(self._one(instance_id), name=f"probe-{instance_id}")

    async def _next_due(self) -> str:
        while True:
            self._news.clear()
            delay = math.inf
            while self._heap:
                due, instance_id = self._heap[0]
                if self._due.get(instance_id) != due:
                    heapq.heappop(self._heap)  # forgotten, or moved to an earlier time
                    continue
                delay = due - self._now()
                if delay > 0:
                    break
                heapq.heappop(self._heap)
                del self._due[instance_id]
                LATENESS.observe(-delay)
                return instance_id
            await self._wait(delay)

    async def _wait(self, delay: float) -> None:
        try:
            async with asyncio.timeout(None if delay == math.inf else delay):
                await self._news.wait()
        except TimeoutError:
            return

    async def _one(self, instance_id: str) -> None:
        delay: timedelta | None = None
        try:
            delay = await self._probe(instance_id)
        except Exception:
            # One instance's defect must not end the watch over all others.
            log.exception("probe failed", instance_id=instance_id)
            DEFECTS.inc()
        finally:
            self._slots.release()
        if instance_id in self._watched:
            again = self._now() + delay.total_seconds() if delay else self._next_place(instance_id)
            self._schedule(instance_id, again)

    def _schedule(self, instance_id: str, due: float) -> None:
        if due >= self._due.get(instance_id, math.inf):
            return
        self._due[instance_id] = due
        heapq.heappush(self._heap, (due, instance_id))
        if self._heap[0][1] == instance_id:
            self._news.set()

    def _next_place(self, instance_id: str) -> float:
        place = phase(instance_id) * self._interval
        return (math.floor((self._now() - place) / self._interval) + 1) * self._interval + place

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def phase(instance_id: str) -> float:
    """Return the place of ``instance_id`` in the interval, evenly spread over 0 (inclusive) to 1."""
    return int.from_bytes(blake2b(instance_id.encode(), digest_size=6).digest()) / 2**48
