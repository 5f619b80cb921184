"""One run per key at a time, nothing lost, nothing doubled."""

import asyncio
from collections import Counter

import pytest

from clawstead_provisioner.work_queue import WorkQueue
from clawstead_shared.errors import TransientError
from tests.support.wait import wait_until


class Worker:
    """Counts runs; holds each until it is let go."""

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self.at_once: Counter[str] = Counter()
        self.most_at_once = 0
        self.gate = asyncio.Event()
        self.failures: list[Exception] = []

    async def __call__(self, key: str) -> None:
        self.runs[key] += 1
        self.at_once[key] += 1
        assert self.at_once[key] == 1, "two runs of one key overlap"
        self.most_at_once = max(self.most_at_once, self.at_once.total())
        try:
            await self.gate.wait()
            if self.failures:
                raise self.failures.pop(0)
        finally:
            self.at_once[key] -= 1


async def test_requests_during_a_run_become_one_more_run() -> None:
    worker = Worker()
    async with WorkQueue(worker, concurrency=4) as queue:
        first = queue.submit("a")
        await wait_until(lambda: worker.runs["a"] == 1)
        later = [queue.submit("a") for _ in range(10)]
        worker.gate.set()
        await asyncio.gather(first, *later)
    assert worker.runs["a"] == 2


async def test_only_so_many_keys_are_worked_on_at_once() -> None:
    worker = Worker()
    async with WorkQueue(worker, concurrency=3) as queue:
        runs = [queue.submit(str(number)) for number in range(10)]
        await wait_until(lambda: worker.at_once.total() == 3)
        worker.gate.set()
        await asyncio.gather(*runs)
    assert worker.most_at_once == 3


async def test_a_run_that_only_waits_leaves_its_place_to_another() -> None:
    order: list[str] = []

    async def work(key: str) -> None:
        if key == "waits":
            async with queue.aside():
                await done.wait()
        order.append(key)
        done.set()

    done = asyncio.Event()
    queue = WorkQueue(work, concurrency=1)
    async with queue, asyncio.timeout(5):
        await asyncio.gather(queue.submit("waits"), queue.submit("works"))
    assert order == ["works", "waits"]


async def test_a_failure_reaches_whoever_waits_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clawstead_provisioner.work_queue._RETRY_SECONDS", 0.01)
    worker = Worker()
    worker.failures = [TransientError("the bus is down"), RuntimeError("a defect")]
    worker.gate.set()
    async with WorkQueue(worker, concurrency=1) as queue:
        with pytest.raises(TransientError):
            await queue.submit("a")
        await wait_until(lambda: worker.runs["a"] == 3)


async def test_of_several_delayed_requests_the_earliest_counts() -> None:
    worker = Worker()
    worker.gate.set()
    async with WorkQueue(worker, concurrency=1) as queue:
        queue.submit_after(0.02, "a")
        queue.submit_after(3600, "a")
        await wait_until(lambda: worker.runs["a"] == 1)
        assert queue._timers == {}


async def test_leaving_ends_what_runs_and_what_waits() -> None:
    worker = Worker()
    async with WorkQueue(worker, concurrency=1) as queue:
        running, waiting = queue.submit("a"), queue.submit("b")
        queue.submit_after(3600, "c")
        await wait_until(lambda: worker.at_once.total() == 1)
    assert running.cancelled()
    assert waiting.cancelled()
    assert queue.submit("d").cancelled()
