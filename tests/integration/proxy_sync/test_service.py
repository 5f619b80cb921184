"""The whole service: real bus, real nginx, its own process. Events in, routes out, through every kind of death."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from clawstead_shared import topology
from clawstead_shared.events import Observed, Phase, Route
from clawstead_shared.ids import new_instance_id
from clawstead_shared.messaging import Bus
from clawstead_shared.streams import DEAD_LETTER_STREAM, PROXY_SYNC, STATE_STREAM
from clawstead_shared.subjects import Topic, subject_of
from tests.integration.proxy_sync.conftest import each_way, is_alive, is_live, map_only, socket_of
from tests.integration.proxy_sync.test_faults import serves
from tests.support.factories import make_observed, observed_event
from tests.support.nats_server import NatsServer
from tests.support.proxy_sync_process import ProxySyncProcess
from tests.support.site import EchoSite, SiteClient
from tests.support.wait import wait_until

CHANGED = '"event": "route changed"'
RELOADS = 'clawstead_edge_reloads_total{outcome="served"}'


@pytest.fixture
async def process(tmp_path: Path, bus: Bus, nats_server: NatsServer, routing: str) -> AsyncIterator[ProxySyncProcess]:
    """A proxy-sync that is ready."""
    process = ProxySyncProcess(tmp_path, nats_server, CLAWSTEAD_EDGE_ROUTING=routing)
    process.start()
    try:
        await process.ready()
        yield process
    finally:
        process.stop()


@pytest.fixture
async def client(process: ProxySyncProcess) -> AsyncIterator[SiteClient]:
    async with SiteClient(process.directory / "tls" / "ca.pem", process.https_port) as client:
        yield client


async def observe(bus: Bus, observed: Observed, **changes: object) -> Observed:
    observed = observed.model_copy(update=changes)
    await bus.publish(observed_event(observed))
    return observed


async def routes_of(bus: Bus, instance_id: str) -> list[Route]:
    subject = subject_of(Topic.ROUTE, instance_id)
    found: list[Route] = []
    sequence = 0
    while True:
        try:
            message = await bus.jetstream.get_msg(STATE_STREAM, seq=sequence + 1, subject=subject, next=True)
        except Exception as error:
            if type(error).__name__ == "NotFoundError":
                return found
            raise
        sequence = message.seq or 0
        found.append(Route.read(message.data or b""))


async def is_active(bus: Bus, observed: Observed) -> bool:
    event = await bus.newest(Topic.ROUTE, observed.instance_id)
    return event is not None and isinstance(event.data, Route) and event.data.active


async def settled(bus: Bus) -> bool:
    info = await bus.jetstream.consumer_info(STATE_STREAM, PROXY_SYNC.durable)
    return not info.num_pending and not info.num_ack_pending


async def routed(bus: Bus, client: SiteClient, site: EchoSite) -> Observed:
    """Return an instance whose route is active and served."""
    observed = await observe(bus, make_observed(port=site.port))
    await wait_until(lambda: is_active(bus, observed))
    assert (await client.get(observed.subdomain)).status_code == 200
    return observed


@each_way
async def test_an_instance_is_served_while_it_runs_and_not_a_moment_longer(
    bus: Bus, process: ProxySyncProcess, client: SiteClient, site: EchoSite
) -> None:
    observed = make_observed(port=site.port)
    label = observed.subdomain
    assert (await client.get(label)).status_code == 404
    await observe(bus, observed, phase=Phase.STARTING)
    await wait_until(process.lines)
    assert (await client.get(label)).status_code == 503
    await observe(bus, observed)
    await wait_until(lambda: is_active(bus, observed))
    assert (await client.get(label)).status_code == 200
    await observe(bus, observed, phase=Phase.STOPPING, generation=2)
    await wait_until(lambda: label not in process.gates)
    assert (await client.get(label)).status_code == 503
    await observe(bus, observed, phase=Phase.STOPPED, generation=2)
    await wait_until(lambda: f"{label}.stopped" in process.pages)
    await observe(bus, observed, phase=Phase.REMOVED, generation=3)
    await wait_until(lambda: serves(client, label, 404))
    await wait_until(lambda: label not in process.map)
    await wait_until(lambda: settled(bus))
    assert [(route.active, route.generation) for route in await routes_of(bus, observed.instance_id)] == [
        (True, 1),
        (False, 2),
        (False, 3),
    ]


async def test_a_prepared_route_is_active_without_a_reload(
    bus: Bus, process: ProxySyncProcess, client: SiteClient, site: EchoSite
) -> None:
    observed = await observe(bus, make_observed(port=site.port), phase=Phase.STARTING)
    await wait_until(process.lines)
    stored, reloads = process.map, await process.metric(RELOADS)
    await observe(bus, observed, phase=Phase.RUNNING)
    await wait_until(lambda: observed.subdomain in process.gates)
    assert (await client.get(observed.subdomain)).status_code == 200
    await wait_until(lambda: is_active(bus, observed))
    assert (process.map, await process.metric(RELOADS)) == (stored, reloads)


@map_only
async def test_routes_that_the_table_does_not_have_yet_are_served_all_the_same(
    bus: Bus, process: ProxySyncProcess, client: SiteClient, site: EchoSite
) -> None:
    """Reloads are gathered; nginx asks about what its table lacks, for every method, body and WebSocket."""
    await routed(bus, client, site)
    for _ in range(5):
        observed = await observe(bus, make_observed(port=site.port))
        await wait_until(partial(is_open, process, observed.subdomain))
        response = await client.request("POST", observed.subdomain, "/a%20b?x=1", content=b"payload")
        assert response.status_code == 200
        echoed = response.json()
        assert (echoed["method"], echoed["path"], echoed["body"]) == ("POST", "/a%20b?x=1", "payload")
        assert echoed["headers"]["X-Forwarded-For"] == "192.0.2.1"
        async with socket_of(client, observed.subdomain) as ws:
            await ws.recv()
            assert await is_live(ws, "through the question")


async def test_a_duplicate_changes_nothing(
    bus: Bus, process: ProxySyncProcess, client: SiteClient, site: EchoSite
) -> None:
    observed = await routed(bus, client, site)
    await wait_until(process.lines)
    stored = process.map
    for _ in range(3):
        await observe(bus, observed)
    await wait_until(lambda: settled(bus))
    assert len(await routes_of(bus, observed.instance_id)) == 1
    assert process.map == stored


async def test_events_out_of_order_end_in_the_newest_state(
    bus: Bus, process: ProxySyncProcess, client: SiteClient, site: EchoSite
) -> None:
    """What is stored last is the truth, whatever was delivered when: the consumer is replayed from the start."""
    observed = await routed(bus, client, site)
    for phase in (Phase.STOPPING, Phase.STOPPED, Phase.STARTING, Phase.RUNNING, Phase.STOPPING, Phase.STOPPED):
        await observe(bus, observed, phase=phase)
    await wait_until(lambda: settled(bus))
    process.kill()
    await bus.jetstream.delete_consumer(STATE_STREAM, PROXY_SYNC.durable)
    await topology.apply(bus.jetstream)
    process.start()
    await process.ready()
    told = len(await routes_of(bus, observed.instance_id))
    await wait_until(lambda: settled(bus))
    assert process.gates == set()
    assert len(await routes_of(bus, observed.instance_id)) == told
    assert process.pages == {f"{observed.subdomain}.stopped"}


@pytest.mark.parametrize("poison", ["not json", "include", "metadata"])
async def test_poison_is_set_aside_and_the_others_are_routed(
    bus: Bus, process: ProxySyncProcess, client: SiteClient, site: EchoSite, poison: str
) -> None:
    if poison == "not json":
        await bus.jetstream.publish(subject_of(Topic.OBSERVED, new_instance_id()), b"{")
    elif poison == "include":
        await observe(bus, make_observed(subdomain="include"))
    else:
        await observe(bus, make_observed(host="169.254.169.254"))
    observed = await routed(bus, client, site)

    async def dead_letters() -> int:
        return (await bus.jetstream.stream_info(DEAD_LETTER_STREAM)).state.messages

    await wait_until(dead_letters)
    await wait_until(lambda: observed.subdomain in process.map)
    assert "include" not in process.map
    assert "169.254" not in process.map


@each_way
async def test_a_storm_of_instances_is_few_reloads(
    bus: Bus, process: ProxySyncProcess, client: SiteClient, site: EchoSite, routing: str
) -> None:
    first = await routed(bus, client, site)
    async with socket_of(client, first.subdomain) as ws:
        await ws.recv()
        storm = [make_observed(port=site.port) for _ in range(60)]
        await asyncio.gather(*(observe(bus, observed) for observed in storm))
        await wait_until(lambda: process.map.count(":") > 60, timeout=20)
        await wait_until(lambda: process.log().count(CHANGED) >= 61)
        assert process.log().count(CHANGED) == 61
        assert await is_live(ws, "after the storm")
        response = await asyncio.gather(*(client.get(observed.subdomain) for observed in storm[:10]))
        assert {answer.status_code for answer in response} == {200}
    reloads = await process.metric(RELOADS)
    assert reloads <= 5 if routing == "map" else reloads == 0


async def test_known_routes_go_on_while_the_service_is_dead_and_its_nginx_is_adopted(
    bus: Bus, process: ProxySyncProcess, client: SiteClient, site: EchoSite
) -> None:
    observed = await routed(bus, client, site)
    await wait_until(process.lines)
    nginx = process.nginx_pid
    async with socket_of(client, observed.subdomain) as ws:
        await ws.recv()
        process.kill()
        assert (await client.get(observed.subdomain)).status_code == 200
        gone = await observe(bus, make_observed(port=site.port), phase=Phase.STARTING)
        process.start()
        await process.ready()
        assert process.nginx_pid == nginx
        assert await is_live(ws, "after adoption")
        await wait_until(lambda: gone.subdomain in process.map)
    assert len(await routes_of(bus, observed.instance_id)) == 1, "nothing changed, so nothing is told"


async def test_what_changed_while_the_service_was_dead_is_put_right_before_it_is_ready(
    bus: Bus, process: ProxySyncProcess, client: SiteClient, site: EchoSite
) -> None:
    stopped, removed = await routed(bus, client, site), await routed(bus, client, site)
    await wait_until(lambda: has_lines(process, 2))
    process.kill()
    (process.directory / "ready" / "stranger").touch()
    started = await observe(bus, make_observed(port=site.port))
    await observe(bus, stopped, phase=Phase.STOPPED, generation=2)
    await observe(bus, removed, phase=Phase.REMOVED, generation=2)
    process.start()
    await process.ready()
    assert process.gates == {started.subdomain}
    assert (await client.get(started.subdomain)).status_code == 200
    assert (await client.get(stopped.subdomain)).headers["x-clawstead-page"] == "stopped"
    assert (await client.get(removed.subdomain)).status_code == 404
    for observed in (stopped, removed):
        assert not await is_active(bus, observed)


async def test_a_killed_nginx_comes_back_with_all_routes(
    bus: Bus, process: ProxySyncProcess, client: SiteClient, site: EchoSite
) -> None:
    observed = await routed(bus, client, site)
    await wait_until(process.lines)
    killed = process.nginx_pid
    os.kill(killed, signal.SIGKILL)
    await wait_until(lambda: (process.directory / "nginx" / "nginx.pid").exists() and process.nginx_pid != killed)
    await process.ready()
    await wait_until(lambda: serves(client, observed.subdomain, 200))
    await routed(bus, client, site)


async def test_a_table_and_gates_changed_by_hand_are_repaired(
    bus: Bus, process: ProxySyncProcess, client: SiteClient, site: EchoSite
) -> None:
    observed = await routed(bus, client, site)
    await wait_until(process.lines)
    path = process.directory / "nginx" / "routes.map"
    path.write_text(process.map[: len(process.map) // 2])
    (process.directory / "ready" / observed.subdomain).unlink()
    (process.directory / "ready" / "stranger").touch()
    await wait_until(lambda: process.gates == {observed.subdomain})
    await wait_until(lambda: "_generation" in process.map and observed.subdomain in process.map)
    assert (await client.get(observed.subdomain)).status_code == 200


async def test_without_the_bus_known_routes_go_on_and_changes_follow_when_it_is_back(
    bus: Bus, process: ProxySyncProcess, client: SiteClient, site: EchoSite, nats_server: NatsServer
) -> None:
    observed = await routed(bus, client, site)
    await wait_until(process.lines)
    nats_server.kill()
    await wait_until(process.waiting)
    assert (await client.get(observed.subdomain)).status_code == 200
    process.kill()
    process.start()
    await wait_until(lambda: serves(client, observed.subdomain, 200))
    nats_server.start()
    await wait_until(lambda: bus.connected)
    await process.ready()
    await routed(bus, client, site)
    assert (await client.get(observed.subdomain)).status_code == 200


async def test_stopping_the_service_stops_nginx(
    bus: Bus, process: ProxySyncProcess, client: SiteClient, site: EchoSite
) -> None:
    observed = await routed(bus, client, site)
    nginx = process.nginx_pid
    async with socket_of(client, observed.subdomain) as ws:
        await ws.recv()
        begun = time.monotonic()
        await asyncio.to_thread(process.stop)
        assert time.monotonic() - begun < 15
    await wait_until(lambda: not is_alive(nginx) or not Path(f"/proc/{nginx}/cmdline").read_bytes())


async def test_a_second_service_in_the_same_folder_waits_its_turn(
    bus: Bus, process: ProxySyncProcess, nats_server: NatsServer, tmp_path: Path
) -> None:
    second = ProxySyncProcess(tmp_path, nats_server)
    second.https_port = process.https_port
    second.start()
    try:
        await wait_until(lambda: says(second, "another proxy-sync"))
        nginx = process.nginx_pid
        process.kill()
        await second.ready()
        assert second.nginx_pid == nginx
    finally:
        second.stop()


async def says(process: ProxySyncProcess, text: str) -> bool:
    return text in str(await process.waiting())


def is_open(process: ProxySyncProcess, label: str) -> bool:
    return label in process.gates


async def has_lines(process: ProxySyncProcess, number: int) -> bool:
    return await process.lines() == number
