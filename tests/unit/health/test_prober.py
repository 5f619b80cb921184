"""When instances are probed."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta

from clawstead_health.prober import Prober, phase
from clawstead_shared.ids import new_instance_id
from tests.support import jumping_clock
from tests.support.wait import wait_until

HOUR = timedelta(hours=1)


@contextlib.asynccontextmanager
async def running(prober: Prober) -> AsyncIterator[None]:
    task = asyncio.create_task(prober.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Recorder:
    """A probe that counts, waits where it is told to, and asks for the next look ``again``."""

    def __init__(self, again: timedelta | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self.busy = 0
        self.busiest = 0
        self.open = asyncio.Event()
        self.open.set()
        self._again = again

    async def __call__(self, instance_id: str) -> timedelta | None:
        self.counts[instance_id] += 1
        self.busy += 1
        self.busiest = max(self.busiest, self.busy)
        await self.open.wait()
        self.busy -= 1
        return self._again


def test_each_is_probed_once_per_interval() -> None:
    probe = Recorder()
    ids = [new_instance_id() for _ in range(20)]

    async def five_intervals() -> None:
        prober = Prober(probe, interval=timedelta(seconds=10), concurrency=10)
        for instance_id in ids:
            prober.watch(instance_id)
        async with running(prober):
            await asyncio.sleep(50)

    jumping_clock.run(five_intervals())
    assert probe.counts == dict.fromkeys(ids, 5)


def test_places_in_the_interval_are_even_and_stable() -> None:
    places = [phase(new_instance_id()) for _ in range(5000)]
    tenths = Counter(int(place * 10) for place in places)
    assert all(400 < tenths[tenth] < 600 for tenth in range(10))
    assert phase("01arz3ndektsv4rrffq69g5fav") == phase("01arz3ndektsv4rrffq69g5fav")


async def test_news_is_probed_at_once() -> None:
    probe = Recorder()
    prober = Prober(probe, interval=HOUR, concurrency=1)
    prober.watch("a")
    async with running(prober):
        await asyncio.sleep(0.01)
        assert not probe.counts
        prober.watch("a", at_once=True)
        await wait_until(lambda: probe.counts["a"] == 1)
        prober.watch("a")
        await asyncio.sleep(0.02)
        assert probe.counts["a"] == 1


async def test_a_probe_may_ask_to_look_again_soon() -> None:
    probe = Recorder(again=timedelta(milliseconds=10))
    prober = Prober(probe, interval=HOUR, concurrency=1)
    prober.watch("a", at_once=True)
    async with running(prober):
        await wait_until(lambda: probe.counts["a"] >= 3)


async def test_what_is_forgotten_is_not_probed_again() -> None:
    probe = Recorder(again=timedelta(milliseconds=10))
    prober = Prober(probe, interval=HOUR, concurrency=1)
    prober.watch("a", at_once=True)
    async with running(prober):
        await wait_until(lambda: probe.counts["a"])
        prober.forget("a")
        await asyncio.sleep(0.02)
        seen = probe.counts["a"]
        await asyncio.sleep(0.05)
        assert probe.counts["a"] == seen


async def test_no_more_than_the_bound_run_at_once_and_none_is_left_out() -> None:
    probe = Recorder()
    probe.open.clear()
    prober = Prober(probe, interval=HOUR, concurrency=3)
    ids = [str(number) for number in range(10)]
    for instance_id in ids:
        prober.watch(instance_id, at_once=True)
    async with running(prober):
        await wait_until(lambda: probe.busy == 3)
        await asyncio.sleep(0.02)
        assert probe.busy == 3
        probe.open.set()
        await wait_until(lambda: set(probe.counts) == set(ids))
    assert probe.busiest == 3


async def test_a_defect_in_one_probe_leaves_the_others_alone() -> None:
    seen: Counter[str] = Counter()

    async def probe(instance_id: str) -> timedelta | None:
        seen[instance_id] += 1
        if instance_id == "bad":
            raise RuntimeError("a defect")
        return timedelta(milliseconds=5)

    prober = Prober(probe, interval=timedelta(milliseconds=20), concurrency=1)
    prober.watch("bad", at_once=True)
    prober.watch("good", at_once=True)
    async with running(prober):
        await wait_until(lambda: seen["good"] > 3 and seen["bad"] > 1)
