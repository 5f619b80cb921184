"""What the hosts can hold, as the API knows it."""

from clawstead_api.admission import Capacity
from clawstead_shared.hosts import HostBudget
from tests.support.api import FakeBuckets

ONE = HostBudget(memory_bytes=1, cpus=0.5, instances=2)


class Scene:
    """A capacity with a clock to turn."""

    def __init__(self) -> None:
        self.buckets = FakeBuckets()
        self.now = 0.0
        self.capacity = Capacity(self.buckets, clock=lambda: self.now)

    async def after(self, seconds: float) -> HostBudget | None:
        self.now += seconds
        return await self.capacity.budget()


async def test_budgets_of_all_hosts_are_added_up() -> None:
    scene = Scene()
    scene.buckets.hosts = [ONE, ONE]
    assert await scene.after(0) == HostBudget(memory_bytes=2, cpus=1.0, instances=4)


async def test_the_bus_is_asked_only_now_and_then() -> None:
    scene = Scene()
    scene.buckets.hosts = [ONE]
    assert await scene.after(0) == ONE
    scene.buckets.hosts = [ONE, ONE]
    assert await scene.after(1) == ONE
    grown = await scene.after(10)
    assert grown is not None
    assert grown.instances == 4


async def test_the_last_budget_counts_on_while_the_bus_is_away() -> None:
    scene = Scene()
    assert await scene.after(0) is None
    scene.buckets.hosts = [ONE]
    assert await scene.after(10) == ONE
    scene.buckets.available = False
    assert await scene.after(10) == ONE
    scene.buckets.available, scene.buckets.hosts = True, []
    assert await scene.after(10) == ONE
