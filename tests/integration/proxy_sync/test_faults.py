"""nginx under stress: killed, adopted, edited by hand, refused, taken ports, live connections."""

import asyncio
import json
import os
import shutil
import signal
import socket
from pathlib import Path

import pytest

from clawstead_proxy_sync import nginx_map
from clawstead_proxy_sync.adapters.daemon import NginxDaemon
from clawstead_proxy_sync.adapters.nginx_process import Master
from clawstead_proxy_sync.errors import EdgeRefusedError
from clawstead_proxy_sync.nginx_map import RouteMap, Upstream
from tests.integration.proxy_sync.conftest import (
    RunningEdge,
    is_alive,
    is_live,
    make_edge,
    make_settings,
    map_only,
    running,
    socket_of,
)
from tests.support.answers import asked
from tests.support.site import EchoSite, SiteClient
from tests.support.wait import wait_until

DAMAGES = ["truncated", "injected", "edited", "missing"]
"""What ``damage_map`` can do to a route map."""

_SILENCE_SECONDS = 5.0
"""How long nobody may answer where nginx is replaced; it takes less than one."""


async def serves(client: SiteClient, label: str, status: int) -> bool:
    try:
        return (await client.get(label)).status_code == status
    except OSError:
        return False
    except Exception as error:
        if type(error).__module__.startswith("httpx"):
            return False
        raise


async def test_a_route_opens_and_closes_with_its_gate_and_no_reload(
    running_edge: RunningEdge, client: SiteClient, upstream: Upstream
) -> None:
    edge = running_edge.edge
    await edge.publish({"blue": upstream})
    master, wanted = Master(running_edge.pid, running_edge.settings.directory), running_edge.settings.edge_workers
    await wait_until(lambda: len(master.accepting()) == wanted, what="every worker has its title")
    workers = master.accepting()
    for _ in range(3):
        assert (await client.get("blue")).status_code == 503
        edge.open_gate("blue")
        assert (await client.get("blue")).status_code == 200
        edge.close_gate("blue")
    assert master.accepting() == workers


async def test_after_publishing_no_worker_serves_an_older_table(
    running_edge: RunningEdge, client: SiteClient, upstream: Upstream
) -> None:
    for number in range(5):
        label = f"new{number}"
        running_edge.edge.open_gate(label)
        await running_edge.edge.publish({label: upstream})
        answers = await asyncio.gather(*(client.get(label) for _ in range(8)))
        assert {answer.status_code for answer in answers} == {200}


async def test_a_killed_master_is_replaced_and_its_connections_stay_open(
    running_edge: RunningEdge, client: SiteClient, upstream: Upstream
) -> None:
    """Workers outlive their master, and give up the ports before the new one binds them: nobody answers meanwhile."""
    running_edge.edge.open_gate("blue")
    await running_edge.edge.publish({"blue": upstream})
    killed = running_edge.pid
    async with asked(client) as answers, socket_of(client) as ws:
        await ws.recv()
        os.kill(killed, signal.SIGKILL)
        await wait_until(lambda: running_edge.reports[-1] is not None, what="death noticed")
        await wait_until(lambda: running_edge.reports[-1] is None, what="replaced")
        assert running_edge.pid != killed
        assert await is_live(ws, "still here")
        await wait_until(lambda: serves(client, "blue", 200))
        assert (await running_edge.edge.publish({"blue": upstream, "b": upstream})).generation
        assert answers.statuses == {200}, "no other answer, before and after"
        assert answers.silence_seconds < _SILENCE_SECONDS


async def test_an_nginx_that_is_killed_with_all_its_workers_comes_back_with_its_table(
    running_edge: RunningEdge, client: SiteClient, upstream: Upstream
) -> None:
    running_edge.edge.open_gate("blue")
    await running_edge.edge.publish({"blue": upstream})
    master = Master(running_edge.pid, running_edge.settings.directory)
    async with asked(client) as answers:
        for pid in (master.pid, *master.accepting()):
            os.kill(pid, signal.SIGKILL)
        await wait_until(lambda: len(running_edge.reports) > 1, what="death noticed")
        await wait_until(lambda: running_edge.reports[-1] is None, what="replaced")
        answered = answers.count(200)
        await wait_until(lambda: answers.count(200) > answered, what="answers again")
        assert answers.statuses == {200}
    assert running_edge.pid != master.pid


async def test_a_process_id_file_that_is_lost_while_nginx_runs_hinders_nothing(
    running_edge: RunningEdge, client: SiteClient, upstream: Upstream
) -> None:
    running_edge.edge.open_gate("blue")
    await running_edge.edge.publish({"blue": upstream})
    pid = running_edge.pid
    async with asked(client) as answers:
        running_edge.layout.pid_file.unlink()
        await running_edge.edge.publish({"blue": upstream, "b": upstream})
        await running_edge.edge.repair()
        assert set(answers) == {200}
    assert Master(pid, running_edge.settings.directory).alive()
    assert running_edge.reports == [None]


async def test_a_killed_worker_is_replaced_by_its_master(
    running_edge: RunningEdge, client: SiteClient, upstream: Upstream
) -> None:
    running_edge.edge.open_gate("blue")
    await running_edge.edge.publish({"blue": upstream})
    master = Master(running_edge.pid, running_edge.settings.directory)
    killed = master.accepting()
    async with asked(client) as answers:
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        await wait_until(lambda: len(master.accepting() - killed) == len(killed))
        assert answers.statuses == {200}, "what they had is cut, and nobody gets another answer"
    assert (await client.get("blue")).status_code == 200
    assert running_edge.reports == [None]


async def test_an_nginx_that_was_left_running_is_adopted_without_a_reload(
    tmp_path: Path, site: EchoSite, upstream: Upstream
) -> None:
    settings = make_settings(tmp_path)
    async for first in running(settings, keep=True):
        first.edge.open_gate("blue")
        table = await first.edge.publish({"blue": upstream})
        pid = first.pid
    assert is_alive(pid)
    workers = Master(pid, settings.directory).accepting()
    async for second in running(settings):
        assert second.pid == pid
        assert second.edge.served == table
        assert Master(pid, settings.directory).accepting() == workers
        async with SiteClient(second.layout.tls / "ca.pem", settings.https_port) as client:
            assert (await client.get("blue")).status_code == 200
        assert (await second.edge.publish({})).generation == table.generation + 1
    assert not Master(pid, settings.directory).alive()


async def test_a_lost_process_id_file_does_not_hide_a_running_nginx(tmp_path: Path, site: EchoSite) -> None:
    settings = make_settings(tmp_path)
    async for first in running(settings, keep=True):
        pid = first.pid
        first.layout.pid_file.unlink()
    async for second in running(settings):
        assert Master(pid, settings.directory).alive()
        assert (await second.edge.publish({})).generation
    assert not Master(pid, settings.directory).alive()


async def test_changed_settings_reach_an_adopted_nginx(tmp_path: Path, site: EchoSite, upstream: Upstream) -> None:
    settings = make_settings(tmp_path)
    async for first in running(settings, keep=True):
        first.edge.open_gate("blue")
        await first.edge.publish({"blue": upstream})
        pid = first.pid
    moved = make_settings(tmp_path)
    async for second in running(moved):
        assert second.pid == pid
        async with SiteClient(second.layout.tls / "ca.pem", moved.https_port) as client:
            assert (await client.get("blue")).status_code == 200


async def test_a_killed_nginx_comes_back_with_the_stored_table(
    tmp_path: Path, site: EchoSite, upstream: Upstream
) -> None:
    settings = make_settings(tmp_path)
    async for first in running(settings):
        first.edge.open_gate("blue")
        table = await first.edge.publish({"blue": upstream})
    async for second in running(settings):
        assert second.edge.served == table
        async with SiteClient(second.layout.tls / "ca.pem", settings.https_port) as client:
            assert (await client.get("blue")).status_code == 200


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_table_is_noticed_never_served_and_replaced(
    running_edge: RunningEdge, client: SiteClient, upstream: Upstream, damage: str
) -> None:
    running_edge.edge.open_gate("blue")
    running_edge.edge.open_gate("evil")
    await running_edge.edge.publish({"blue": upstream, "green": upstream})
    damage_map(running_edge.layout.map, damage, upstream)
    assert not await running_edge.edge.intact()
    os.kill(running_edge.pid, signal.SIGKILL)
    await wait_until(lambda: running_edge.reports[-1] is not None)
    await wait_until(lambda: running_edge.reports[-1] is None)
    assert await running_edge.edge.intact()
    assert (await client.get("blue")).status_code == 200
    assert (await client.get("evil")).status_code != 200


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_table_damaged_while_nobody_looked_is_not_trusted_at_start(
    tmp_path: Path, site: EchoSite, upstream: Upstream, damage: str
) -> None:
    settings = make_settings(tmp_path)
    async for first in running(settings):
        first.edge.open_gate("evil")
        await first.edge.publish({"blue": upstream})
        layout = first.layout
    damage_map(layout.map, damage, upstream)
    async for second in running(settings):
        assert second.edge.served
        assert second.edge.served.routes == {}
        table = await second.edge.publish({"blue": upstream})
        assert nginx_map.parse(layout.map.read_bytes()) == table


async def test_an_adopted_nginx_keeps_its_good_table_although_the_file_is_damaged(
    tmp_path: Path, site: EchoSite, upstream: Upstream
) -> None:
    settings = make_settings(tmp_path, edge_routing="map")
    async for first in running(settings, keep=True):
        first.edge.open_gate("blue")
        table = await first.edge.publish({"blue": upstream})
        damage_map(first.layout.map, "truncated", upstream)
    async for second in running(settings):
        assert second.edge.served is None
        async with SiteClient(second.layout.tls / "ca.pem", settings.https_port) as client:
            assert (await client.get("blue")).status_code == 200
        assert (await second.edge.publish({"blue": upstream})).generation > table.generation


def damage_map(path: Path, damage: str, upstream: Upstream) -> None:
    text = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(text[: len(text) // 2])
    elif damage == "injected":
        path.write_bytes(text + f'"evil" {upstream};\n'.encode())
    elif damage == "edited":
        path.write_bytes(text.replace(str(upstream).encode(), b"127.0.0.1:1"))
    else:
        path.unlink()


@map_only
async def test_a_table_that_nginx_refuses_changes_nothing(
    running_edge: RunningEdge, client: SiteClient, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    running_edge.edge.open_gate("blue")
    table = await running_edge.edge.publish({"blue": upstream})
    stored = running_edge.layout.map.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(nginx_map, "render", lambda table: b'"broken" ' + str(table.generation).encode())
        patch.setattr(nginx_map, "parse", lambda text: RouteMap(int(text.split()[1]), {}))
        async with asked(client) as answers:
            with pytest.raises(EdgeRefusedError, match="refuses the configuration"):
                await running_edge.edge.publish({})
            assert set(answers) == {200}
    assert running_edge.layout.map.read_bytes() == stored
    assert running_edge.edge.served == table
    assert (await client.get("blue")).status_code == 200
    assert (await running_edge.edge.publish({})).generation > table.generation


async def test_a_port_that_is_taken_is_named_and_the_start_is_tried_again(tmp_path: Path, site: EchoSite) -> None:
    settings = make_settings(tmp_path)
    edge = await make_edge(settings)
    reports: list[str | None] = []
    with socket.create_server(("127.0.0.1", settings.https_port)):
        task = asyncio.create_task(edge.run(reports.append))
        await wait_until(lambda: reports, timeout=15)
    assert f"127.0.0.1:{settings.https_port} failed (98" in str(reports[0])
    assert f"port {settings.https_port} is held by " in str(reports[0])
    assert f"(pid {os.getpid()})" in str(reports[0])
    await asyncio.wait_for(edge.up(), 20)
    assert reports[-1] is None
    task.cancel()
    await asyncio.wait({task}, timeout=10)


async def test_a_missing_nginx_is_named(tmp_path: Path) -> None:
    edge = await make_edge(make_settings(tmp_path, nginx_binary="no-such-nginx", edge_routing="map"))
    reports: list[str | None] = []
    task = asyncio.create_task(edge.run(reports.append))
    await wait_until(lambda: reports)
    assert "install Debian's package nginx" in str(reports[0])
    task.cancel()
    await asyncio.wait({task}, timeout=10)


async def test_a_new_certificate_is_served_without_closing_connections(
    running_edge: RunningEdge, client: SiteClient, upstream: Upstream
) -> None:
    running_edge.edge.open_gate("blue")
    await running_edge.edge.publish({"blue": upstream})
    before = await asyncio.to_thread(served_certificate, client)
    async with socket_of(client) as ws:
        await ws.recv()
        (running_edge.layout.tls / "site.json").unlink()
        renewed = (await make_edge(running_edge.settings)).config
        await running_edge.edge.reconfigure(renewed)
        assert await asyncio.to_thread(served_certificate, client) != before
        assert await is_live(ws, "after renewal")


def served_certificate(client: SiteClient) -> bytes | None:
    with socket.create_connection(("127.0.0.1", client.port), 5) as plain:
        tls = client.tls.wrap_socket(plain, server_hostname="claw.localhost")
        try:
            return tls.getpeercert(binary_form=True)
        finally:
            tls.close()


async def test_logs_that_grow_are_set_aside(running_edge: RunningEdge, client: SiteClient) -> None:
    log = running_edge.layout.nginx / "access.log"
    await client.get("nobody")
    await wait_until(lambda: log.stat().st_size, timeout=5)
    daemon = running_edge.edge._daemon
    assert isinstance(daemon, NginxDaemon)
    daemon.rotate_logs(above_bytes=1)
    assert log.with_suffix(".log.1").exists()
    await wait_until(log.exists)
    await client.get("somebody")
    await wait_until(lambda: log.stat().st_size, timeout=5)
    assert json.loads(log.read_text().splitlines()[0])["host"] == "somebody.claw.localhost"


async def test_what_is_left_when_the_folder_was_deleted_gives_up_its_ports(tmp_path: Path, site: EchoSite) -> None:
    settings = make_settings(tmp_path)
    async for first in running(settings, keep=True):
        lost = first.pid
        shutil.rmtree(settings.directory)
    assert is_alive(lost)
    async for second in running(settings):
        assert second.pid != lost
    await wait_until(
        lambda: not Path(f"/proc/{lost}/cmdline").exists() or not Path(f"/proc/{lost}/cmdline").read_bytes()
    )
