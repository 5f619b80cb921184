"""A port on real parts: nobody gets it while the edge may still lead to whom it belonged."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clawstead_shared.events import DesiredState, Phase, Reason
from clawstead_shared.ids import new_instance_id
from clawstead_shared.messaging import Bus
from clawstead_shared.subjects import Topic
from tests.support.factories import make_route, route_event
from tests.support.nats_server import NatsServer
from tests.support.ports import free_port
from tests.support.provisioner_process import ProvisionerProcess
from tests.support.provisioner_rig import wanted
from tests.support.secured_bus import SecuredBus
from tests.support.wait import wait_until
from tests.support.wishes import changed, containers, entrust, until, want


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def process(
    tmp_path: Path, nats_server: NatsServer, installation: str, standin: None, port: int
) -> Iterator[ProvisionerProcess]:
    """A provisioner that has one port to give, and a subnet that no other test's has."""
    settings = {
        "CLAWSTEAD_FIRST_GATEWAY_PORT": str(port),
        "CLAWSTEAD_LAST_GATEWAY_PORT": str(port),
        "CLAWSTEAD_NETWORK_POOL": f"10.254.{port >> 8}.{port & 0xF8}/29",
        "CLAWSTEAD_RECONCILE_INTERVAL_SECONDS": "0.5",
    }
    process = ProvisionerProcess(tmp_path / "data", nats_server.url, installation, **settings)
    yield process
    process.kill()


@pytest.mark.docker
async def test_a_port_that_the_dead_edge_leads_to_goes_to_nobody_until_it_lives_and_lets_go(
    bus: Bus, process: ProvisionerProcess, docker_client: Any, port: int
) -> None:
    process.start()
    await process.ready()
    gone, other = wanted(), wanted()
    await entrust(bus, gone)
    await entrust(bus, other)
    await want(bus, gone)
    assert (await until(bus, gone, Phase.RUNNING)).port == port
    await bus.publish(route_event(make_route(gone.instance_id, port)))
    deleted = changed(gone, 2, DesiredState.DELETED)
    await want(bus, deleted)
    await until(bus, deleted, Phase.REMOVED)
    assert containers(docker_client, gone) == []

    await want(bus, other)
    observed = await until(bus, other, Phase.FAILED)
    assert observed.reason is Reason.PORTS_EXHAUSTED
    assert "1 of them held back: proxy-sync" in (observed.message or "")
    process.kill()
    process.start()
    await process.ready()
    other = changed(other, 2, DesiredState.RUNNING)
    await want(bus, other)
    observed = await until(bus, other, Phase.FAILED)
    assert observed.reason is Reason.PORTS_EXHAUSTED
    assert "clawstead_ports_held_back 1.0" in process.metrics()
    assert containers(docker_client, other) == []

    await bus.publish(route_event(make_route(gone.instance_id, port, active=False, upstream=None)))
    await wait_until(lambda: "clawstead_ports_held_back 0.0" in process.metrics(), what="let go")
    other = changed(other, 3, DesiredState.RUNNING)
    await want(bus, other)
    assert (await until(bus, other, Phase.RUNNING)).port == port


@pytest.mark.docker
async def test_a_route_that_is_closed_in_time_costs_the_next_one_nothing(
    bus: Bus, process: ProvisionerProcess, port: int
) -> None:
    process.start()
    await process.ready()
    gone, other = wanted(), wanted()
    await entrust(bus, gone)
    await entrust(bus, other)
    await want(bus, gone)
    await until(bus, gone, Phase.RUNNING)
    await bus.publish(route_event(make_route(gone.instance_id, port)))
    deleted = changed(gone, 2, DesiredState.DELETED)
    await bus.publish(route_event(make_route(gone.instance_id, port, active=False, upstream=None)))
    await want(bus, deleted)
    await until(bus, deleted, Phase.REMOVED)
    await want(bus, other)
    assert (await until(bus, other, Phase.RUNNING)).port == port


@pytest.fixture
def secured() -> Iterator[SecuredBus]:
    with SecuredBus() as server:
        server.start()
        yield server


async def test_the_provisioners_user_may_read_routes(secured: SecuredBus) -> None:
    edge, reader = secured.bus("proxy-sync"), secured.bus("provisioner")
    await edge.connect()
    await reader.connect()
    route = make_route(new_instance_id(), 10000)
    await edge.publish(route_event(route))
    newest = await reader.newest(Topic.ROUTE, route.instance_id)
    assert newest
    assert newest.data == route
    assert [event.data async for event in reader.each_newest(Topic.ROUTE)] == [route]
    await edge.close()
    await reader.close()
