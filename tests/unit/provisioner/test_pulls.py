"""One pull for all who wait for it, told to them now and then."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from clawstead_provisioner.background import Background
from clawstead_provisioner.errors import ProvisioningError
from clawstead_provisioner.pulls import Pulls, Waiter
from clawstead_shared.events import Progress
from tests.support.fake_engine import FakeEngine
from tests.support.wait import wait_until

IMAGE = "registry.test/openclaw:2"


class Clock:
    """Time that passes when told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Instance:
    """One that waits."""

    def __init__(self) -> None:
        self.digest: str | None = None
        self.looks = 0
        self.waiter = Waiter(self._pulled, self._look)

    def _pulled(self, digest: str) -> None:
        self.digest = digest

    def _look(self) -> None:
        self.looks += 1


@pytest.fixture
def engine() -> FakeEngine:
    engine = FakeEngine()
    engine.registry[IMAGE] = {}
    return engine


@pytest.fixture
async def pulls(engine: FakeEngine) -> AsyncIterator[Pulls]:
    async with Background() as background:
        yield Pulls(engine, background, Clock())


async def test_all_who_ask_during_a_pull_wait_for_that_one(pulls: Pulls, engine: FakeEngine) -> None:
    instances = [Instance() for _ in range(3)]
    for number, instance in enumerate(instances):
        pulls.request(IMAGE, str(number), instance.waiter)
        pulls.request(IMAGE, str(number), instance.waiter)
    await wait_until(lambda: all(instance.digest for instance in instances))
    assert engine.calls.count("pull") == 1
    assert [instance.looks for instance in instances] == [1, 1, 1]
    assert pulls.progress(IMAGE, "0") is None


async def test_who_comes_later_has_it_pulled_again(pulls: Pulls, engine: FakeEngine) -> None:
    first, second = Instance(), Instance()
    pulls.request(IMAGE, "a", first.waiter)
    await wait_until(lambda: first.digest)
    engine.registry_digests[IMAGE] = "sha256:moved"
    pulls.request(IMAGE, "b", second.waiter)
    await wait_until(lambda: second.digest)
    assert engine.calls.count("pull") == 2
    assert second.digest == "sha256:moved"


async def test_a_failure_answers_those_who_waited_and_is_then_forgotten(pulls: Pulls, engine: FakeEngine) -> None:
    labels = engine.registry.pop(IMAGE)
    instance = Instance()
    pulls.request(IMAGE, "a", instance.waiter)
    await wait_until(lambda: instance.looks)
    with pytest.raises(ProvisioningError, match="cannot be pulled"):
        pulls.request(IMAGE, "a", instance.waiter)
    engine.registry[IMAGE] = labels
    assert isinstance(pulls._clock, Clock)
    pulls._clock.now += 11
    pulls.request(IMAGE, "a", instance.waiter)
    await wait_until(lambda: instance.digest)


async def test_progress_is_told_once_a_second_and_five_percent_at_most(pulls: Pulls, engine: FakeEngine) -> None:
    engine.pull_gate.clear()
    instance = Instance()
    pulls.request(IMAGE, "a", instance.waiter)
    assert pulls.progress(IMAGE, "a") == Progress(step="pulling the image")
    assert pulls.progress(IMAGE, "b") is None
    assert isinstance(pulls._clock, Clock)
    told = []
    for percent in range(0, 100, 2):
        pulls._clock.now += 0.3
        before = instance.looks
        pulls._note(IMAGE, Progress(step="downloading the image", percent=percent))
        if instance.looks > before:
            told.append((round(pulls._clock.now - 1000, 1), percent))
    assert told[0] == (0.3, 0)
    assert all(later[0] - earlier[0] >= 1 for earlier, later in pairwise(told))
    assert all(later[1] - earlier[1] >= 5 for earlier, later in pairwise(told))
    assert len(told) > 10
    engine.pull_gate.set()
    await asyncio.sleep(0)
    await wait_until(lambda: instance.digest)


async def test_an_image_that_is_only_built_here_is_never_pulled(pulls: Pulls, engine: FakeEngine) -> None:
    with pytest.raises(ProvisioningError, match=r"images/openclaw/build\.sh"):
        pulls.request("openclaw:local", "a", Instance().waiter)
    assert engine.calls == []
