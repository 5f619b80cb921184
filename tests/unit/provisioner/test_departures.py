"""A port whose instance is gone waits for the edge: whoever still follows the old route must find nobody there."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from clawstead_provisioner.departures import HELD_BACK, Departures
from clawstead_provisioner.errors import ProvisioningError
from clawstead_provisioner.port_allocation import PortTable
from clawstead_provisioner.ports import Listed
from clawstead_shared.errors import TransientError
from clawstead_shared.events import Desired, DesiredState, Event, Observed, Payload, Phase
from clawstead_shared.ids import new_instance_id
from clawstead_shared.subjects import Topic
from tests.support.factories import make_route, route_event
from tests.support.fake_bus import FakeBus
from tests.support.fake_engine import FakeEngine
from tests.support.ports import free_port
from tests.support.profiles import PROFILES
from tests.support.provisioner_rig import FakeGateway, FakeSecrets, Rig, provisioner, wanted
from tests.support.wait import wait_until

PORT = 10000
GONE, OTHER, THIRD = new_instance_id(), new_instance_id(), new_instance_id()

Booted = Callable[[], AbstractAsyncContextManager[Rig]]


class RouteBus(FakeBus):
    """A bus whose topic ``route`` can be out of reach alone."""

    routes_readable = True

    async def newest(self, topic: Topic, instance_id: str) -> Event[Payload] | None:
        if topic is Topic.ROUTE and not self.routes_readable:
            raise TransientError("no routes now")
        return await super().newest(topic, instance_id)


@pytest.fixture
def bus() -> RouteBus:
    return RouteBus()


@pytest.fixture
def ports() -> PortTable:
    """A table with one port to give."""
    return PortTable(PORT, PORT, lambda _: True)


@pytest.fixture
def departures(ports: PortTable, bus: RouteBus) -> Departures:
    return Departures(ports, bus, "127.0.0.1")


@pytest.fixture
def booted(bus: RouteBus, tmp_path: Path) -> Booted:
    """Starts a provisioner that has one port to give, each time on the same bus and engine."""
    engine, port = FakeEngine(), free_port()

    def boot() -> AbstractAsyncContextManager[Rig]:
        return provisioner(
            tmp_path,
            bus=bus,
            engine=engine,
            gateway=FakeGateway(),
            secrets=FakeSecrets(),
            profiles=PROFILES,
            installation="test",
            first_gateway_port=port,
            last_gateway_port=port,
            orphan_grace_seconds=0,
        )

    return boot


@pytest.fixture
async def rig(booted: Booted) -> AsyncIterator[Rig]:
    async with booted() as assembled:
        yield assembled


async def running(rig: Rig) -> Desired:
    desired = wanted()
    await rig.want(desired)
    await rig.until(desired.instance_id, Phase.RUNNING)
    return desired


async def say_route(bus: FakeBus, instance_id: str, port: int = PORT, *, active: bool = True) -> None:
    """Say of the edge what proxy-sync says when it has opened or closed a gate."""
    closed = {} if active else {"active": False, "upstream": None}
    await bus.publish(route_event(make_route(instance_id, port, **closed)))


async def routed(rig: Rig, desired: Desired, *, active: bool = True) -> None:
    await say_route(rig.bus, desired.instance_id, rig.settings.first_gateway_port, active=active)


async def delete(rig: Rig, desired: Desired, *, force: bool = False) -> None:
    gone = {"generation": desired.generation + 1, "desired_state": DesiredState.DELETED, "force": force}
    await rig.want(desired.model_copy(update=gone))
    await rig.until(desired.instance_id, Phase.REMOVED)


async def refused(rig: Rig) -> Observed:
    """Want another instance, and see that there is no port for it."""
    desired = wanted()
    await rig.want(desired)
    observed = await rig.until(desired.instance_id, Phase.FAILED)
    assert observed.reason == "ports_exhausted"
    return observed


def is_held_back(ports: PortTable) -> bool:
    try:
        ports.allocate(THIRD)
    except ProvisioningError:
        return True
    ports.release(THIRD)
    return False


@pytest.mark.parametrize("force", [False, True])
async def test_a_port_waits_until_the_edge_has_let_go_of_it(rig: Rig, force: bool) -> None:
    gone = await running(rig)
    await routed(rig, gone)
    await delete(rig, gone, force=force)
    observed = await refused(rig)
    assert observed.message
    assert observed.message.endswith("1 of them held back: proxy-sync has not closed the routes that lead there")
    await rig.sweep.once()
    await refused(rig)
    await routed(rig, gone, active=False)
    await rig.sweep.once()
    await running(rig)


@pytest.mark.parametrize("force", [False, True])
async def test_a_port_that_the_edge_does_not_lead_to_is_free_before_the_end_is_said(rig: Rig, force: bool) -> None:
    never_routed = await running(rig)
    await delete(rig, never_routed, force=force)
    closed_in_time = await running(rig)
    await routed(rig, closed_in_time)
    await routed(rig, closed_in_time, active=False)
    await delete(rig, closed_in_time, force=force)
    await running(rig)


async def test_an_orphans_port_waits_too(rig: Rig) -> None:
    orphan = await running(rig)
    await routed(rig, orphan)
    await rig.want(wanted(desired_state=DesiredState.STOPPED))
    rig.bus.events = [
        event for event in rig.bus.events if event.instance_id != orphan.instance_id or event.topic is Topic.ROUTE
    ]
    await rig.sweep.once()
    await rig.sweep.once()
    await wait_until(lambda: not rig.engine.containers and not rig.queue.busy(orphan.instance_id))
    await refused(rig)
    await routed(rig, orphan, active=False)
    await rig.sweep.once()
    await running(rig)


async def test_a_provisioner_that_starts_anew_still_waits(booted: Booted) -> None:
    async with booted() as rig:
        gone = await running(rig)
        await routed(rig, gone)
        await delete(rig, gone)
    async with booted() as rig:
        await refused(rig)
        await routed(rig, gone, active=False)
        await rig.sweep.once()
        await running(rig)


async def test_a_route_that_cannot_be_read_holds_up_no_end_but_its_port(rig: Rig) -> None:
    gone = await running(rig)
    rig.bus.routes_readable = False
    await delete(rig, gone)
    await refused(rig)
    with pytest.raises(TransientError):
        await rig.sweep.once()
    rig.bus.routes_readable = True
    await rig.sweep.once()
    await running(rig)


async def test_a_listing_from_before_a_delete_takes_the_port_from_nobody(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = await running(rig)
    before: list[Listed] = await rig.engine.list()
    await delete(rig, gone)
    await wait_until(lambda: not rig.queue.busy(gone.instance_id))

    async def late() -> list[Listed]:
        return before

    with monkeypatch.context() as patched:
        patched.setattr(rig.engine, "list", late)
        for look in await rig.sweep.once():
            await look
    await running(rig)


async def test_a_port_that_an_instance_moved_away_from_waits_as_well(rig: Rig) -> None:
    moved = await running(rig)
    await routed(rig, moved)
    ports = rig.reconciler._tools.ports
    ports.bar(moved.instance_id)
    assert ports.held_back == 1
    await rig.sweep.once()
    assert ports.left == [(moved.instance_id, rig.settings.first_gateway_port)]
    await routed(rig, moved, active=False)
    await rig.sweep.once()
    assert ports.left == []


async def test_a_start_holds_back_what_the_edge_leads_to(
    ports: PortTable, bus: RouteBus, departures: Departures
) -> None:
    await say_route(bus, GONE)
    await departures.recall()
    assert is_held_back(ports)
    assert HELD_BACK._value.get() == 1
    await say_route(bus, GONE, active=False)
    await departures.review()
    assert not is_held_back(ports)
    assert HELD_BACK._value.get() == 0


async def test_a_living_instance_keeps_its_port_and_who_comes_after_it_waits(
    ports: PortTable, bus: RouteBus, departures: Departures
) -> None:
    ports.hold(OTHER, PORT)
    await say_route(bus, OTHER)
    await say_route(bus, GONE)
    await departures.recall()
    await departures.review()
    assert ports.allocate(OTHER) == PORT
    assert ports.held_back == 0, "it is in use"
    await say_route(bus, OTHER, active=False)
    await departures.leave(OTHER)
    assert is_held_back(ports), "the edge still leads there in the name of the first"
    await say_route(bus, GONE, active=False)
    await departures.review()
    assert not is_held_back(ports)


async def test_an_instance_that_comes_back_gets_its_port_back(
    ports: PortTable, bus: RouteBus, departures: Departures
) -> None:
    await say_route(bus, GONE)
    await departures.recall()
    assert ports.allocate(GONE) == PORT
    assert (ports.left, ports.held_back) == ([], 0)


@pytest.mark.parametrize("upstream", ["127.0.0.1:10001", "10.1.2.3:10000", "[::1]:10000", "somewhere", ":", None])
async def test_a_start_holds_back_nothing_for_routes_that_lead_elsewhere_or_nobody_knows_where(
    ports: PortTable, bus: RouteBus, departures: Departures, upstream: str | None
) -> None:
    await bus.publish(route_event(make_route(GONE, PORT, upstream=upstream)))
    await departures.recall()
    assert not is_held_back(ports)


@pytest.mark.parametrize(
    ("upstream", "held"), [("127.0.0.1:10001", False), ("10.1.2.3:10000", True), ("somewhere", True), (None, True)]
)
async def test_a_route_that_may_lead_to_the_port_holds_it_back(
    ports: PortTable, bus: RouteBus, departures: Departures, upstream: str | None, held: bool
) -> None:
    ports.hold(GONE, PORT)
    await bus.publish(route_event(make_route(GONE, PORT, upstream=upstream)))
    await departures.leave(GONE)
    assert is_held_back(ports) is held


async def test_a_route_over_ipv6_is_read(ports: PortTable, bus: RouteBus) -> None:
    await bus.publish(route_event(make_route(GONE, PORT, upstream=f"[::1]:{PORT}")))
    await Departures(ports, bus, "::1").recall()
    assert is_held_back(ports)


async def test_nothing_is_known_of_the_edge_while_the_bus_does_not_answer(
    bus: RouteBus, departures: Departures
) -> None:
    bus.available = False
    with pytest.raises(TransientError):
        await departures.recall()
