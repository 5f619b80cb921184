"""The newest observation decides; the log is asked for it unless what was handed over is certain to be it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from clawstead_proxy_sync.errors import UnroutableError
from clawstead_shared.events import Event, Observed, Payload, Phase
from clawstead_shared.subjects import Topic
from tests.support.factories import make_observed, observed_event
from tests.support.fake_bus import FakeBus
from tests.support.wait import wait_until
from tests.unit.proxy_sync.test_reconcile import Bench, run


class CountingBus(FakeBus):
    """Counts how often it is asked for the newest observation."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    async def newest(self, topic: Topic, instance_id: str) -> Event[Payload] | None:
        self.asked += 1
        return await super().newest(topic, instance_id)

    async def store(self, observed: Observed, *, newest: bool) -> Event[Observed]:
        """Publish an observation; return it as a consumer is handed it."""
        sequence = await self.publish(observed_event(observed))
        return replace(observed_event(observed), sequence=sequence, newest=newest)


def counting(bench: Bench) -> CountingBus:
    assert isinstance(bench.bus, CountingBus)
    return bench.bus


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async for it in run(Bench(CountingBus())):
        yield it


async def test_the_last_word_is_followed_without_asking_for_it(bench: Bench) -> None:
    bus = counting(bench)
    observed = make_observed()
    await bench.keeper.refresh(observed.instance_id, hint=await bus.store(observed, newest=True))
    assert bench.edge.gates == {observed.subdomain}
    assert bus.asked == 0


async def test_what_may_not_be_the_last_word_is_asked_for(bench: Bench) -> None:
    bus = counting(bench)
    observed = make_observed()
    old = await bus.store(observed, newest=False)
    await bus.store(observed.model_copy(update={"phase": Phase.STOPPED}), newest=True)
    await bench.keeper.refresh(observed.instance_id, hint=old)
    assert bus.asked == 1
    assert bench.edge.gates == set()


async def test_what_was_the_last_word_before_the_log_was_read_is_asked_for(bench: Bench) -> None:
    bus = counting(bench)
    observed = make_observed()
    old = await bus.store(observed, newest=True)
    await bus.store(observed.model_copy(update={"subdomain": "default"}), newest=True)
    with pytest.raises(UnroutableError):
        await bench.keeper.refresh(observed.instance_id)
    with pytest.raises(UnroutableError):
        await bench.keeper.refresh(observed.instance_id, hint=old)
    assert bus.asked == 2
    assert bench.edge.gates == set()


async def test_what_had_to_wait_for_another_is_asked_for(bench: Bench) -> None:
    bus = counting(bench)
    observed = await bench.observe(make_observed(phase=Phase.STARTING))
    await wait_until(lambda: bench.edge.published)
    bench.edge.publishing.clear()
    moved = await bus.store(observed.model_copy(update={"port": 23456, "phase": Phase.RUNNING}), newest=True)
    first = asyncio.create_task(bench.keeper.refresh(observed.instance_id, hint=moved))
    await wait_until(lambda: bench.edge.gates == set())
    again = await bus.store(observed.model_copy(update={"port": 34567, "phase": Phase.RUNNING}), newest=True)
    second = asyncio.create_task(bench.keeper.refresh(observed.instance_id, hint=again))
    await asyncio.sleep(0)
    await bus.store(observed.model_copy(update={"phase": Phase.STOPPED}), newest=True)
    bench.edge.publishing.set()
    await asyncio.gather(first, second)
    assert bench.edge.gates == set()
