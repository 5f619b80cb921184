"""Routes in nginx's memory: whole or not served, newer than the file, and never an earlier tenant's."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from clawstead_proxy_sync import nginx_map
from clawstead_proxy_sync.adapters.control import Control
from clawstead_proxy_sync.adapters.nginx_process import Master, accepting
from clawstead_proxy_sync.errors import EdgeRefusedError, EdgeUnavailableError
from clawstead_proxy_sync.nginx_map import Page, RouteMap, Upstream
from tests.integration.proxy_sync.conftest import RunningEdge, each_way, make_edge, make_settings, running
from tests.integration.proxy_sync.test_faults import DAMAGES, damage_map
from tests.support.ports import free_port
from tests.support.site import EchoSite, SiteClient
from tests.support.wait import wait_until


@pytest.fixture
def routing() -> str:
    return "live"


@pytest.fixture
def control(running_edge: RunningEdge) -> Control:
    return Control(running_edge.layout.control_socket)


async def test_a_line_is_served_at_once_by_every_worker_and_no_reload(
    running_edge: RunningEdge, client: SiteClient, upstream: Upstream
) -> None:
    master = Master(running_edge.pid, running_edge.settings.directory)
    # A worker that was just born has no title yet.
    await wait_until(lambda: len(master.accepting()) == running_edge.settings.edge_workers, what="all workers")
    workers = master.accepting()
    running_edge.edge.open_gate("blue")
    assert (await client.get("blue")).status_code == 503
    assert await running_edge.edge.lead("blue", upstream)
    answers = await asyncio.gather(*(client.get("blue") for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert await running_edge.edge.lead("blue", None)
    assert (await client.get("blue")).status_code == 503
    assert master.accepting() == workers


async def test_a_table_takes_no_newer_line_back(running_edge: RunningEdge, upstream: Upstream) -> None:
    edge = running_edge.edge
    await edge.publish({"old": upstream})
    publishing = asyncio.create_task(edge.publish({"old": upstream, "more": upstream}))
    await asyncio.sleep(0)
    await asyncio.gather(edge.lead("new", upstream), edge.lead("old", None))
    await publishing
    assert edge.served
    assert set(edge.served.routes) == {"more", "new"}


async def test_a_change_for_another_generation_is_refused_and_the_whole_table_comes(
    running_edge: RunningEdge, client: SiteClient, control: Control, upstream: Upstream
) -> None:
    edge = running_edge.edge
    table = await edge.publish({"blue": upstream})
    with pytest.raises(EdgeUnavailableError, match="another generation"):
        await control.change(table.generation - 1, table.generation + 5, {"evil": upstream})
    await control.change(table.generation, table.generation + 40, {"blue": Upstream("127.0.0.1", 1)})
    assert not await edge.lead("green", upstream), "somebody else has changed it"
    assert edge.served is None
    renewed = replace(edge.config, certificate_digest="renewed")
    with pytest.raises(EdgeUnavailableError, match="nobody knows"):
        await edge.reconfigure(renewed)
    await edge.publish({"blue": upstream, "green": upstream})
    await edge.reconfigure(renewed)
    assert await control.table() == edge.served == edge.stored
    edge.open_gate("green")
    assert (await client.get("green")).status_code == 200


async def test_a_full_dictionary_refuses_and_what_was_known_goes_on(
    tmp_path: Path, site: EchoSite, upstream: Upstream
) -> None:
    settings = make_settings(tmp_path, edge_routing="live")
    edge = await make_edge(settings)
    edge._use(replace(edge.config, dictionary="12k"))
    task = asyncio.create_task(edge.run(lambda _: None))
    await asyncio.wait_for(edge.up(), 20)
    edge.open_gate("blue")
    await edge.publish({"blue": upstream})
    with pytest.raises(EdgeRefusedError, match="do not fit"):
        await edge.publish({"blue": upstream} | {f"i{number}": upstream for number in range(500)})
    async with SiteClient(settings.directory / "tls" / "ca.pem", settings.https_port) as client:
        assert (await client.get("blue")).status_code == 200
        assert (await client.get("nobody")).status_code == 503, "nobody knows whether there is one"
        await edge.publish({"blue": upstream})
        assert (await client.get("nobody")).status_code == 404
    task.cancel()
    await asyncio.wait({task}, timeout=10)


async def test_lines_that_are_on_no_disk_outlive_nginx_and_proxy_sync_but_not_both(
    tmp_path: Path, site: EchoSite, upstream: Upstream
) -> None:
    settings = make_settings(tmp_path, edge_routing="live")
    async for first in running(settings, keep=True):
        first.edge.open_gate("blue")
        await first.edge.lead("blue", upstream)
        os.kill(first.pid, signal.SIGKILL)
        await started_again(first)
        async with SiteClient(first.layout.tls / "ca.pem", settings.https_port) as client:
            assert (await client.get("blue")).status_code == 200
        await first.edge.lead("green", upstream)
        stored = first.layout.map.read_bytes()
    assert nginx_map.parse(stored).routes == {"blue": upstream}
    async for second in running(settings):
        assert second.edge.served == second.edge.stored
        assert second.edge.served
        assert second.edge.served.routes == {"blue": upstream, "green": upstream}
        assert nginx_map.parse(second.layout.map.read_bytes()) == second.edge.stored


async def test_a_table_that_was_held_up_ends_when_a_newer_one_comes(
    running_edge: RunningEdge, control: Control, upstream: Upstream
) -> None:
    """As when proxy-sync has given up waiting for the first."""
    path = running_edge.layout.map
    tables = [RouteMap(generation, {f"g{generation}-{n}": upstream for n in range(20000)}) for generation in (70, 80)]
    older, newer = (nginx_map.render(table) for table in tables)
    path.write_bytes(older)
    first = asyncio.create_task(control.load(70))
    while await control.table() is not None:  # noqa: ASYNC110 - it must not end unseen
        await asyncio.sleep(0)
    path.write_bytes(newer)
    await asyncio.gather(first, control.load(80), return_exceptions=True)
    assert await control.table() == tables[1]


async def started_again(it: RunningEdge) -> None:
    await wait_until(lambda: it.reports[-1] is not None)
    await wait_until(lambda: it.reports[-1] is None)


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_reload_or_another_proxy_sync_believes_nginx_more_than_the_file(
    tmp_path: Path, site: EchoSite, upstream: Upstream, damage: str
) -> None:
    settings = make_settings(tmp_path, edge_routing="live")
    async for first in running(settings, keep=True):
        first.edge.open_gate("blue")
        table = await first.edge.publish({"blue": upstream})
        damage_map(first.layout.map, damage, upstream)
        os.kill(first.pid, signal.SIGHUP)
    async for second in running(make_settings(tmp_path, edge_routing="live")):
        assert second.edge.served == table
        assert nginx_map.parse(second.layout.map.read_bytes()) == table


@pytest.mark.parametrize("damage", DAMAGES)
async def test_an_nginx_that_starts_on_a_damaged_file_serves_none_of_it(
    running_edge: RunningEdge, client: SiteClient, upstream: Upstream, damage: str
) -> None:
    """As after a restart that proxy-sync did not see."""
    edge, layout = running_edge.edge, running_edge.layout
    for label in ("blue", "evil"):
        edge.open_gate(label)
    await edge.publish({"blue": upstream, "green": upstream})
    damage_map(layout.map, damage, upstream)
    edge._use(replace(edge.config, dictionary="16m"))
    await edge._server.config_file.store()
    before = Master(running_edge.pid, running_edge.settings.directory).accepting()
    os.kill(running_edge.pid, signal.SIGHUP)
    await wait_until(lambda: answers(client, "blue", 503))
    await wait_until(lambda: not accepting(before), what="workers that know the table are done")
    assert await Control(layout.control_socket).table() is None
    for label in ("evil", "nobody"):
        assert (await client.get(label)).status_code == 503
    assert not await edge.lead("new", upstream)
    await edge.publish({"blue": upstream})
    assert (await client.get("blue")).status_code == 200
    assert (await client.get("nobody")).status_code == 404


async def answers(client: SiteClient, label: str, status: int) -> bool:
    return (await client.get(label)).status_code == status


@pytest.mark.parametrize("ways", [("map", "live"), ("live", "map")])
async def test_another_way_of_routing_takes_a_running_nginx_over(
    tmp_path: Path, site: EchoSite, upstream: Upstream, ways: tuple[str, str]
) -> None:
    settings = make_settings(tmp_path, edge_routing=ways[0])
    async for first in running(settings, keep=True):
        first.edge.open_gate("blue")
        await first.edge.publish({"blue": upstream})
        pid = first.pid
    async for second in running(settings.model_copy(update={"edge_routing": ways[1]})):
        assert second.pid == pid
        async with SiteClient(second.layout.tls / "ca.pem", settings.https_port) as client:
            assert (await client.get("blue")).status_code == 200
            await second.edge.publish({"blue": upstream, "green": upstream})
            second.edge.open_gate("green")
            assert (await client.get("green")).status_code == 200


async def test_the_control_socket_is_closed_to_everybody_else(running_edge: RunningEdge) -> None:
    assert running_edge.layout.control_socket.parent.stat().st_mode & 0o777 == 0o700
    running_edge.layout.control_socket.unlink()
    killed = running_edge.pid
    await running_edge.edge.repair()
    await started_again(running_edge)
    assert running_edge.pid != killed


@each_way
async def test_gates_of_an_earlier_boot_are_closed(
    tmp_path: Path, site: EchoSite, upstream: Upstream, routing: str
) -> None:
    """After a loss of power a gate may be back that had been closed, and its port be another's."""
    settings = make_settings(tmp_path, edge_routing=routing)
    async for first in running(settings):
        first.edge.open_gate("blue")
        await first.edge.publish({"blue": upstream})
    async for second in running(settings):
        assert second.edge.open_gates() == {"blue"}
    (settings.directory / "boot").write_text("another")
    async for third in running(settings):
        assert third.edge.open_gates() == set()


class Tenant(EchoSite):
    """A gateway that keeps connections open, and can be replaced by another on its port."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port


@each_way
async def test_a_port_that_is_somebody_elses_now_is_never_reached_under_the_old_name(
    running_edge: RunningEdge, client: SiteClient, routing: str
) -> None:
    """Neither over a connection that a visitor kept, nor through a worker of an earlier table that still drains."""
    edge, port = running_edge.edge, free_port()
    first, second = Tenant(port), Tenant(port)
    await first.start()
    await edge.publish({"old": (there := Upstream("127.0.0.1", port))})
    edge.open_gate("old")
    kept = await keep_open(client, "old")
    assert await ask(kept, client, "old", "POST") == 200
    edge.close_gate("old", Page.STOPPED)
    await first.stop()
    await second.start()
    edge.open_gate("new")
    await edge.lead("new", there)
    assert await ask(kept, client, "old", "POST") == 503
    edge.close_gate("old")
    await edge.publish({"new": there})
    assert (await client.get("new")).status_code == 200
    assert (await client.get("old")).status_code == 404
    assert await ask(kept, client, "old", "POST") in {None, 404}, "hung up on, or told"
    assert second.requests == ["/"]
    await second.stop()


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def keep_open(client: SiteClient, label: str) -> Connection:
    host = f"{label}.{client.domain}"
    return await asyncio.open_connection("127.0.0.1", client.port, ssl=client.tls, server_hostname=host)


async def ask(connection: Connection, client: SiteClient, label: str, method: str) -> int | None:
    """Send a request over a kept connection; return the status, None if it was closed meanwhile."""
    reader, writer = connection
    writer.write(f"{method} / HTTP/1.1\r\nHost: {label}.{client.domain}\r\nContent-Length: 0\r\n\r\n".encode())
    async with asyncio.timeout(10):
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        length = head.partition("content-length: ")[2].partition("\r\n")[0]
        if length:
            await reader.readexactly(int(length))
        else:
            await reader.readuntil(b"\r\n0\r\n\r\n")
    return int(head.split(" ")[1])


@pytest.fixture
async def tenant() -> AsyncIterator[Tenant]:
    tenant = Tenant(free_port())
    await tenant.start()
    yield tenant
    await tenant.stop()


async def test_connections_to_a_gateway_are_kept_and_one_that_died_fails_no_request(
    running_edge: RunningEdge, client: SiteClient, tenant: Tenant
) -> None:
    edge = running_edge.edge
    edge.open_gate("blue")
    await edge.publish({"blue": Upstream("127.0.0.1", tenant.port)})
    for _ in range(6):
        assert (await client.get("blue")).status_code == 200
    assert len(tenant.peers) <= running_edge.settings.edge_workers
    for method in ("GET", "POST", "PUT"):
        await tenant.stop()
        assert (await client.request(method, "blue")).headers["x-clawstead-page"] == "starting"
        await tenant.start()
        content = b"all of it" if method != "GET" else None
        assert (await client.request(method, "blue", content=content)).status_code == 200


async def test_a_gateway_may_have_an_address_of_either_family(running_edge: RunningEdge, client: SiteClient) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "::1", port := free_port()):
        running_edge.edge.open_gate("six")
        await running_edge.edge.lead("six", Upstream("::1", port))
        assert (await client.get("six")).status_code == 200


async def test_a_request_over_a_connection_that_was_cut_is_repeated_only_if_that_is_harmless(
    running_edge: RunningEdge, client: SiteClient
) -> None:
    """The gateway closed it just as the request was under way: nobody knows whether it was acted upon."""
    heard: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b""):
            heard.append((await reader.readuntil(b"\r\n\r\n")).decode().partition(" ")[0])
            writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port := free_port())
    async with server:
        running_edge.edge.open_gate("blue")
        await running_edge.edge.publish({"blue": Upstream("127.0.0.1", port)})
        statuses: dict[str, set[int]] = {"GET": set(), "POST": set()}
        for method, seen in statuses.items():
            for _ in range(8):
                before = len(heard)
                status = (await client.request(method, "blue")).status_code
                seen.add(status)
                assert len(heard) - before == 1 or (method == "GET" and status == 200)
        assert statuses == {"GET": {200}, "POST": {200, 503}}
