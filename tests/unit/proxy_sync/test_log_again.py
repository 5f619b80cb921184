"""The log comes again, or is gone: nothing changes that need not, and no route ends because nobody remembers it."""

from collections.abc import AsyncIterator
from typing import cast

import pytest

from clawstead_proxy_sync.handlers import foresee
from clawstead_proxy_sync.nginx_map import Upstream
from clawstead_shared.control import Effect
from clawstead_shared.events import Event, Observed, Payload, Phase
from clawstead_shared.messaging.control import RefusedError
from clawstead_shared.subjects import Topic
from tests.support.factories import make_observed, observed_event
from tests.support.fake_bus import FakeBus
from tests.support.fake_edge import FakeEdge
from tests.unit.proxy_sync.test_reconcile import Bench, run


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async for it in run(Bench()):
        yield it


async def planned(bench: Bench, *observed: Observed) -> list[Effect]:
    """Return what handling would do, after making sure that saying so did nothing."""
    bench.edge.actions.clear()
    events = len(bench.bus.events)
    effects = await foresee([observed_event(one) for one in observed], keeper=bench.keeper)
    assert (bench.edge.actions, len(bench.bus.events)) == ([], events)
    return effects


async def store(bench: Bench, observed: Observed, **changes: object) -> Observed:
    """Publish an observation that nobody follows."""
    changed = observed.model_copy(update=changes)
    await bench.bus.publish(observed_event(changed))
    return changed


async def test_a_dry_run_of_what_is_served_has_no_effect(bench: Bench) -> None:
    running = await bench.observe(make_observed())
    removed = await bench.observe(make_observed(), phase=Phase.REMOVED)
    assert await planned(bench, running, running, removed) == []


async def test_a_dry_run_tells_lines_gates_and_facts(bench: Bench) -> None:
    observed = await bench.observe(make_observed())
    label = observed.subdomain
    await store(bench, observed, phase=Phase.STOPPED)
    effects = await planned(bench, observed)
    assert [(effect.action, effect.detail) for effect in effects] == [
        ("show page", f"{label}: stopped"),
        ("close gate", label),
        ("publish route", f"{label}.test is closed"),
    ]
    await bench.keeper.refresh(observed.instance_id)
    await store(bench, observed, port=23456)
    assert [effect.action for effect in await planned(bench, observed)] == [
        "change route line",
        "open gate",
        "publish route",
    ]


async def test_events_that_were_followed_long_ago_cost_nothing(bench: Bench) -> None:
    observed = await bench.observe(make_observed())
    await bench.observe(observed, phase=Phase.STOPPED)
    bench.edge.actions.clear()
    bench.bus.available = False
    for old in bench.bus.of(Topic.OBSERVED):
        await bench.keeper.refresh(observed.instance_id, hint=cast("Event[Observed]", old))
    assert bench.edge.actions == []


async def test_a_dry_run_names_what_can_never_be_a_route(bench: Bench) -> None:
    bad = await store(bench, make_observed(subdomain="include"))
    assert [effect.action for effect in await planned(bench, bad)] == ["set event aside"]


async def test_a_rebuild_of_a_true_table_changes_nothing(bench: Bench) -> None:
    await bench.observe(make_observed())
    await bench.observe(make_observed(port=2), phase=Phase.STOPPED)
    await bench.publisher.settled()
    bench.edge.actions.clear()
    first, second = await bench.keeper.rebuild(), await bench.keeper.rebuild()
    assert first.before == first.after == second.before == second.after
    assert first.entries == 2
    assert bench.edge.actions == []


async def test_a_rebuild_repairs_a_damaged_map_and_missed_observations(bench: Bench) -> None:
    observed, missed = await bench.observe(make_observed()), await store(bench, make_observed(port=2))
    bench.edge.damaged = True
    bench.edge.gates.add("stranger")
    first, second = await bench.keeper.rebuild(), await bench.keeper.rebuild()
    assert first.before != first.after == second.before == second.after
    assert bench.edge.gates == {observed.subdomain, missed.subdomain}
    assert bench.activity(missed.instance_id) == [True]


class SlowBus(FakeBus):
    """Lets things happen between the reading of a snapshot and its use."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: list[Observed] = []
        self.bench: Bench | None = None

    async def snapshot(self, topic: Topic) -> dict[str, Event[Payload]]:
        found = await super().snapshot(topic)
        meanwhile, self.meanwhile = self.meanwhile, []
        for observed in meanwhile:
            assert self.bench
            await self.bench.observe(observed)
        return found


async def test_what_happens_during_a_rebuild_is_not_undone_by_it() -> None:
    bus = SlowBus()
    async for bench in run(Bench(bus)):
        stopped, moved = await bench.observe(make_observed()), await bench.observe(make_observed(port=2))
        bus.bench, bus.meanwhile = bench, [stopped.model_copy(update={"phase": Phase.STOPPED})]
        bus.meanwhile += [moved.model_copy(update={"port": 3}), new := make_observed(port=4)]
        bus.meanwhile.append(gone := make_observed(port=5))
        bus.meanwhile.append(gone.model_copy(update={"phase": Phase.REMOVED}))
        await bench.keeper.rebuild()
        assert bench.keeper.upstream(stopped.subdomain) is None
        assert bench.keeper.upstream(moved.subdomain) == Upstream("127.0.0.1", 3)
        assert bench.keeper.upstream(new.subdomain) == Upstream("127.0.0.1", 4)
        assert bench.edge.gates == {moved.subdomain, new.subdomain}
        assert gone.subdomain not in bench.edge.served.routes  # type: ignore[union-attr]


async def started_over(old: Bench, bus: FakeBus) -> AsyncIterator[Bench]:
    """A new keeper on the same edge."""
    edge = FakeEdge()
    edge.served, edge.stored = old.edge.served, old.edge.stored
    edge.gates, edge.shown = set(old.edge.gates), dict(old.edge.shown)
    async for it in run(Bench(bus, edge)):
        await it.keeper.boot()
        yield it


async def two_routes(bench: Bench) -> tuple[Observed, Observed]:
    running = await bench.observe(make_observed())
    stopped = await bench.observe(make_observed(port=2), phase=Phase.STOPPED)
    await bench.publisher.settled()
    return running, stopped


async def test_an_empty_log_ends_no_route(bench: Bench) -> None:
    running, stopped = await two_routes(bench)
    async for it in started_over(bench, FakeBus()):
        assert it.edge.gates == {running.subdomain}
        assert it.edge.served == bench.edge.served
        assert it.keeper.upstream(running.subdomain) == Upstream("127.0.0.1", 12345)
        with pytest.raises(RefusedError, match="1 of 1 routes"):
            await it.keeper.rebuild()
        await it.observe(running)
        await it.observe(stopped)
        assert it.activity(running.instance_id) == [True]
        report = await it.keeper.rebuild()
        assert report.before == report.after
        await it.observe(running, phase=Phase.REMOVED)
        await it.publisher.settled()
        assert it.edge.served.routes == {stopped.subdomain: Upstream("127.0.0.1", 2)}  # type: ignore[union-attr]


async def test_a_port_that_another_instance_has_now_is_not_reached_under_an_old_name(bench: Bench) -> None:
    running, _ = await two_routes(bench)
    async for it in started_over(bench, FakeBus()):
        other = await it.observe(make_observed(port=running.port))
        assert it.edge.gates == {other.subdomain}
        assert it.edge.actions.index(f"close {running.subdomain}") < it.edge.actions.index(f"open {other.subdomain}")
        await it.publisher.settled()
        assert running.subdomain not in it.edge.served.routes  # type: ignore[union-attr]


async def test_a_removal_that_was_missed_is_no_reason_to_keep_a_route(bench: Bench) -> None:
    running, _ = await two_routes(bench)
    await store(bench, running, phase=Phase.REMOVED)
    async for it in started_over(bench, bench.bus):
        assert it.edge.gates == set()
        assert running.subdomain not in it.edge.served.routes  # type: ignore[union-attr]


async def test_a_log_that_lost_its_facts_is_told_them_again(bench: Bench) -> None:
    running, _ = await two_routes(bench)
    observed = await bench.bus.snapshot(Topic.OBSERVED)
    bench.bus.events.clear()
    await bench.keeper.renew()
    assert bench.edge.gates == {running.subdomain}
    assert bench.bus.events == []
    for event in observed.values():
        await bench.bus.publish(event)
    await bench.keeper.resync()
    assert bench.activity(running.instance_id) == [True]
