"""Routes follow the newest observations: gates first, the table behind them, and one fact per change."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from clawstead_proxy_sync.errors import UnroutableError
from clawstead_proxy_sync.nginx_map import Page, RouteMap, Upstream
from clawstead_proxy_sync.publisher import MapPublisher
from clawstead_proxy_sync.reconcile import RouteKeeper
from clawstead_proxy_sync.routing import RouteTable
from clawstead_shared.errors import TransientError
from clawstead_shared.events import Event, Observed, Payload, Phase, Route
from clawstead_shared.ids import new_instance_id
from clawstead_shared.subjects import Topic
from tests.support.factories import make_observed, observed_event
from tests.support.fake_bus import FakeBus
from tests.support.fake_edge import FakeEdge
from tests.support.wait import wait_until


class Bench:
    """A keeper between a fake bus and a fake edge."""

    def __init__(self, bus: FakeBus | None = None, edge: FakeEdge | None = None) -> None:
        self.bus = bus or FakeBus()
        self.edge = edge or FakeEdge()
        table = RouteTable()
        self.publisher = MapPublisher(self.edge, table.routes, interval=timedelta(milliseconds=1))
        self.keeper = RouteKeeper(table, self.edge, self.publisher, self.bus, lambda label: f"{label}.test")

    async def observe(self, observed: Observed, **changes: object) -> Observed:
        """Publish an observation and have it followed."""
        observed = observed.model_copy(update=changes)
        await self.bus.publish(observed_event(observed))
        await self.keeper.refresh(observed.instance_id)
        return observed

    def told(self) -> list[Route]:
        return [event.data for event in self.bus.of(Topic.ROUTE) if isinstance(event.data, Route)]

    def activity(self, instance_id: str) -> list[bool]:
        return [route.active for route in self.told() if route.instance_id == instance_id]


async def run(bench: Bench) -> AsyncIterator[Bench]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(bench.edge.run(lambda _: None)), group.create_task(bench.publisher.run())]
        await bench.edge.up()
        yield bench
        for task in tasks:
            task.cancel()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async for it in run(Bench()):
        yield it


async def test_a_prepared_route_is_opened_without_a_new_table(bench: Bench) -> None:
    observed = await bench.observe(make_observed(phase=Phase.STARTING))
    await wait_until(lambda: bench.edge.published)
    assert bench.edge.gates == set()
    assert bench.told() == []
    await bench.observe(observed, phase=Phase.RUNNING)
    assert bench.edge.gates == {observed.subdomain}
    assert len(bench.edge.published) == 1
    assert bench.told() == [
        Route(
            instance_id=observed.instance_id,
            generation=1,
            hostname=f"{observed.subdomain}.test",
            upstream="127.0.0.1:12345",
            active=True,
            map_generation=2,
        )
    ]


async def test_a_route_that_nobody_prepared_is_open_before_the_table_has_it(bench: Bench) -> None:
    bench.edge.publishing.clear()
    observed = await asyncio.wait_for(bench.observe(make_observed()), 1)
    assert bench.edge.gates == {observed.subdomain}
    assert bench.keeper.upstream(observed.subdomain) == Upstream("127.0.0.1", 12345)
    assert bench.activity(observed.instance_id) == [True]
    bench.edge.publishing.set()
    await wait_until(lambda: bench.edge.published)


@pytest.mark.parametrize(
    "phase", [Phase.STOPPING, Phase.STOPPED, Phase.FAILED, Phase.DELETING, Phase.REMOVED, Phase.STARTING]
)
async def test_leaving_running_closes_the_gate_before_anything_else(bench: Bench, phase: Phase) -> None:
    observed = await bench.observe(make_observed())
    await wait_until(lambda: bench.edge.published)
    bench.edge.actions.clear()
    bench.edge.publishing.clear()
    await asyncio.wait_for(bench.observe(observed, phase=phase), 1)
    assert bench.edge.actions == [f"close {observed.subdomain}"]
    assert bench.keeper.upstream(observed.subdomain) is None
    assert bench.activity(observed.instance_id) == [True, False]
    assert bench.told()[-1].upstream is None
    bench.edge.publishing.set()


async def test_a_removed_instance_leaves_the_table(bench: Bench) -> None:
    observed = await bench.observe(make_observed())
    await bench.observe(observed, phase=Phase.REMOVED)
    await wait_until(lambda: bench.edge.served and bench.edge.served.routes == {})


async def test_a_duplicate_changes_and_tells_nothing(bench: Bench) -> None:
    observed = await bench.observe(make_observed())
    await wait_until(lambda: bench.edge.published)
    for _ in range(3):
        await bench.keeper.refresh(observed.instance_id)
    assert len(bench.edge.published) == 1
    assert bench.activity(observed.instance_id) == [True]


async def test_an_old_event_is_answered_from_the_newest(bench: Bench) -> None:
    observed = make_observed()
    old = observed_event(observed)
    await bench.bus.publish(old)
    await bench.bus.publish(observed_event(observed.model_copy(update={"phase": Phase.STOPPED})))
    await bench.keeper.refresh(observed.instance_id, hint=old)
    assert bench.edge.gates == set()
    assert bench.told() == []


async def test_phases_without_a_route_are_told_once(bench: Bench) -> None:
    observed = await bench.observe(make_observed())
    for phase in (Phase.STOPPING, Phase.STOPPED):
        await bench.observe(observed, phase=phase, generation=2)
    assert [(route.active, route.generation) for route in bench.told()] == [(True, 1), (False, 2)]


async def test_a_moved_gateway_is_unreachable_until_the_table_has_moved(bench: Bench) -> None:
    observed = await bench.observe(make_observed())
    await wait_until(lambda: bench.edge.published)
    bench.edge.actions.clear()
    await bench.observe(observed, port=2222)
    assert bench.edge.actions == [
        f"close {observed.subdomain}",
        f"publish {observed.subdomain}",
        f"open {observed.subdomain}",
    ]
    assert bench.told()[-1].upstream == "127.0.0.1:2222"


async def test_while_the_table_cannot_move_the_gate_stays_closed_and_the_event_is_retried(bench: Bench) -> None:
    observed = await bench.observe(make_observed())
    await wait_until(lambda: bench.edge.published)
    bench.edge.refusals = 1
    with pytest.raises(TransientError):
        await bench.observe(observed, port=2222)
    assert bench.edge.gates == set()
    await bench.keeper.refresh(observed.instance_id)
    assert bench.edge.gates == {observed.subdomain}


async def test_an_address_that_must_not_be_routed_is_refused_and_closes_what_was_open(bench: Bench) -> None:
    observed = await bench.observe(make_observed())
    with pytest.raises(UnroutableError):
        await bench.observe(observed, host="169.254.169.254")
    assert bench.edge.gates == set()
    assert bench.activity(observed.instance_id) == [True, False]


async def test_a_refused_instance_does_not_keep_others_from_their_routes(bench: Bench) -> None:
    with pytest.raises(UnroutableError):
        await bench.observe(make_observed(subdomain="include"))
    observed = await bench.observe(make_observed())
    await wait_until(lambda: bench.edge.published)
    assert set(bench.edge.published[-1].routes) == {observed.subdomain}


async def test_the_next_holder_of_a_name_gets_it_when_the_first_is_gone(bench: Bench) -> None:
    ids = sorted(new_instance_id() for _ in range(2))
    first = await bench.observe(make_observed(ids[0], subdomain="blue"))
    second = await bench.observe(make_observed(ids[1], subdomain="blue", port=2))
    assert bench.activity(second.instance_id) == []
    await bench.observe(first, phase=Phase.REMOVED)
    assert bench.keeper.upstream("blue") == Upstream("127.0.0.1", 2)
    assert bench.activity(first.instance_id) == [True, False]
    assert bench.activity(second.instance_id) == [True]
    assert bench.edge.gates == {"blue"}


async def test_an_unconfirmed_route_is_told_again_as_the_same_event(bench: Bench) -> None:
    published: list[Event[Payload]] = []
    real = bench.bus.publish

    async def lossy(event: Event[Payload]) -> int:
        published.append(event)
        if len(published) == 1:
            raise TransientError("no answer")
        return await real(event)

    observed = make_observed()
    await bench.bus.publish(observed_event(observed))
    bench.bus.publish = lossy  # type: ignore[method-assign]
    with pytest.raises(TransientError):
        await bench.keeper.refresh(observed.instance_id)
    await bench.keeper.refresh(observed.instance_id)
    assert [event.id for event in published] == [published[0].id] * 2


async def test_gates_changed_by_hand_are_put_right(bench: Bench) -> None:
    observed = await bench.observe(make_observed())
    bench.edge.gates = {"stranger"}
    bench.keeper.repair_gates()
    assert bench.edge.gates == {observed.subdomain}


async def test_resync_follows_what_no_event_announced(bench: Bench) -> None:
    observed = make_observed()
    await bench.bus.publish(observed_event(observed))
    await bench.keeper.resync()
    assert bench.edge.gates == {observed.subdomain}
    events = len(bench.bus.events)
    await bench.keeper.resync()
    assert len(bench.bus.events) == events


async def test_resync_tells_a_route_that_could_not_be_told(bench: Bench) -> None:
    observed = make_observed()
    await bench.bus.publish(observed_event(observed))
    real = bench.bus.publish

    async def deaf(_: Event[Payload]) -> int:
        raise TransientError("no answer")

    bench.bus.publish = deaf  # type: ignore[method-assign, assignment]
    with pytest.raises(TransientError):
        await bench.keeper.refresh(observed.instance_id)
    bench.bus.publish = real  # type: ignore[method-assign]
    await bench.keeper.resync()
    assert bench.activity(observed.instance_id) == [True]


async def rebooted(bench: Bench, edge: FakeEdge) -> AsyncIterator[Bench]:
    """A new keeper on the same bus, in front of an edge that kept running."""
    edge.actions.clear()
    edge.published.clear()
    async for it in run(Bench(bench.bus, edge)):
        await it.keeper.boot()
        yield it


async def test_a_rebuild_ends_in_the_same_table_and_tells_nothing_again(bench: Bench) -> None:
    running = await bench.observe(make_observed())
    stopped = await bench.observe(make_observed(phase=Phase.STOPPED))
    await bench.observe(make_observed(phase=Phase.REMOVED))
    await wait_until(lambda: bench.edge.served and len(bench.edge.served.routes) == 2)
    events = len(bench.bus.events)
    survivor = FakeEdge()
    survivor.served, survivor.stored = bench.edge.served, bench.edge.stored
    survivor.gates, survivor.shown = set(bench.edge.gates), dict(bench.edge.shown)
    async for again in rebooted(bench, survivor):
        assert survivor.actions == []
        assert survivor.gates == {running.subdomain}
        assert survivor.served
        assert survivor.shown[stopped.subdomain] is Page.STOPPED
        assert len(again.bus.events) == events


async def test_a_rebuild_from_nothing_opens_what_runs_and_removes_stale_gates(bench: Bench) -> None:
    running = await bench.observe(make_observed())
    gone = await bench.observe(make_observed())
    await bench.bus.publish(observed_event(gone.model_copy(update={"phase": Phase.REMOVED})))
    fresh = FakeEdge()
    fresh.gates = {gone.subdomain, "stranger"}
    async for again in rebooted(bench, fresh):
        assert fresh.gates == {running.subdomain}
        assert fresh.served
        assert fresh.served.routes == {running.subdomain: Upstream("127.0.0.1", 12345)}
        assert again.activity(gone.instance_id) == [True, False]
        assert again.activity(running.instance_id) == [True]


async def test_at_boot_a_gate_whose_line_leads_elsewhere_is_closed_until_the_table_is_right(bench: Bench) -> None:
    running = await bench.observe(make_observed(port=2222))
    stale = FakeEdge()
    stale.gates = {running.subdomain}
    stale.served = RouteMap(9, {running.subdomain: Upstream("127.0.0.1", 1111)})
    async for _ in rebooted(bench, stale):
        assert stale.actions == [
            f"close {running.subdomain}",
            f"publish {running.subdomain}",
            f"open {running.subdomain}",
        ]


async def test_at_boot_a_route_of_an_instance_that_nobody_observes_is_withdrawn(bench: Bench) -> None:
    observed = await bench.observe(make_observed())
    bench.bus.events = bench.bus.of(Topic.ROUTE)
    async for again in rebooted(bench, FakeEdge()):
        assert again.activity(observed.instance_id) == [True, False]


async def test_where_lines_change_at_once_a_gate_waits_for_no_table(bench: Bench) -> None:
    bench.edge.leads = True
    bench.edge.publishing.clear()
    observed = await asyncio.wait_for(bench.observe(make_observed()), 1)
    label = observed.subdomain
    assert bench.edge.actions == [f"lead {label}", f"open {label}"]
    await asyncio.wait_for(bench.observe(observed, phase=Phase.REMOVED), 1)
    assert bench.edge.actions[2:] == [f"close {label}", f"lead {label}"]
    assert bench.edge.served
    assert bench.edge.served.routes == {}
    bench.edge.publishing.set()


async def test_a_gate_waits_for_the_disk_if_what_lies_there_leads_elsewhere(bench: Bench) -> None:
    """A loss of power must not bring an old port back under an open gate."""
    observed = await bench.observe(make_observed())
    await bench.publisher.settled()
    label = observed.subdomain
    bench.edge.leads = True
    bench.edge.actions.clear()
    await bench.observe(observed, port=2222)
    assert bench.edge.actions == [f"close {label}", f"lead {label}", f"publish {label}", f"open {label}"]


@pytest.mark.parametrize(
    ("phase", "page"), [(Phase.STARTING, "starting"), (Phase.STOPPED, "stopped"), (Phase.FAILED, "failed")]
)
async def test_what_a_closed_gate_shows_changes_without_a_table(bench: Bench, phase: Phase, page: str) -> None:
    observed = await bench.observe(make_observed())
    await bench.publisher.settled()
    published = len(bench.edge.published)
    await bench.observe(observed, phase=phase)
    await bench.publisher.settled()
    assert bench.edge.shown == {observed.subdomain: page}
    bench.edge.shown.clear()
    bench.keeper.repair_gates()
    assert bench.edge.shown == {observed.subdomain: page}
    assert len(bench.edge.published) == published
