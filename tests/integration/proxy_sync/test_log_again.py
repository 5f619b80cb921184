"""The log comes again, is gone, or the files of the edge are: the real service goes on serving, and puts it right."""

import asyncio
import os
import shutil
from collections.abc import Callable

import httpx
import pytest

from clawstead_shared import topology
from clawstead_shared.events import Observed, Phase
from clawstead_shared.messaging import Bus
from clawstead_shared.messaging.control import RefusedError
from clawstead_shared.streams import PROXY_SYNC, STATE_STREAM
from clawstead_shared.subjects import Topic
from tests.integration.proxy_sync.test_faults import serves
from tests.integration.proxy_sync.test_service import client, has_lines, is_active, observe, process, routed, settled
from tests.support.answers import asked
from tests.support.factories import make_observed
from tests.support.nats_server import NatsServer
from tests.support.ports import free_port
from tests.support.proxy_sync_process import ProxySyncProcess
from tests.support.replaying import rebuild, replay
from tests.support.site import EchoSite, SiteClient
from tests.support.wait import wait_until

__all__ = ["client", "process"]  # fixtures


def facts(process: ProxySyncProcess) -> dict[str, tuple[int, int]]:
    """Return what would show a reload, a write or another nginx."""
    files = [path for path in process.directory.rglob("*") if path.is_file() and path.suffix not in {".log", ".json"}]
    found = {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in files}
    return found | {"nginx": (process.nginx_pid, reloads(process))}


def reloads(process: ProxySyncProcess) -> int:
    metrics = httpx.get(f"http://127.0.0.1:{process.admin_port}/metrics").text
    return sum(int(float(line.split()[-1])) for line in metrics.splitlines() if "edge_reloads_total{" in line)


async def stopped(bus: Bus) -> Observed:
    observed = await observe(bus, make_observed(port=free_port()))
    return await observe(bus, observed, phase=Phase.STOPPED, generation=2)


async def test_replay_redelivery_and_rebuild_change_nothing_that_is_true(
    bus: Bus, process: ProxySyncProcess, client: SiteClient, site: EchoSite
) -> None:
    running, gone = await routed(bus, client, site), await stopped(bus)
    await wait_until(lambda: f"{gone.subdomain}.stopped" in process.pages and gone.subdomain in process.map)
    await wait_until(lambda: has_lines(process, 2))
    await wait_until(lambda: settled(bus))
    before, last, map_bytes = facts(process), await bus.log.last_sequence(), process.map
    async with asked(client, running.subdomain) as answers:
        assert await replay(bus, "proxy-sync", dry_run=True) == ([], [])
        assert await replay(bus, "proxy-sync") == ([], [])
        first, second = await rebuild(bus, "proxy-sync"), await rebuild(bus, "proxy-sync")
        assert first.before == first.after == second.after
        assert first.entries == 2
        await bus.jetstream.delete_consumer(STATE_STREAM, PROXY_SYNC.durable)
        await topology.apply(bus.jetstream)
        await wait_until(lambda: settled(bus), timeout=40)
        assert facts(process) == before
        assert await bus.log.last_sequence() == last
        path = process.directory / "nginx" / "routes.map"
        path.write_text(map_bytes.replace(f":{site.port};", ":1;"))
        damaged = await rebuild(bus, "proxy-sync")
        assert damaged.after == first.after
        repaired = path.read_bytes()
        path.write_bytes(repaired[: len(repaired) // 2])
        assert (await rebuild(bus, "proxy-sync")).after == first.after
        assert set(answers) == {200}
    await routed(bus, client, site)


async def lost(bus: Bus, nats_server: NatsServer) -> None:
    await asyncio.to_thread(nats_server.lose_store)
    await wait_until(lambda: bus.connected)
    await topology.apply(bus.jetstream)


async def test_a_lost_log_ends_no_route_and_the_facts_come_back(
    bus: Bus, process: ProxySyncProcess, client: SiteClient, site: EchoSite, nats_server: NatsServer
) -> None:
    running, other = await routed(bus, client, site), await stopped(bus)
    await wait_until(lambda: running.subdomain in process.map and other.subdomain in process.map)
    before = process.map
    async with asked(client, running.subdomain) as answers:
        await lost(bus, nats_server)
        await wait_until(lambda: "the log is not the one that was known" in process.log())
        await observe(bus, running)
        await wait_until(lambda: is_active(bus, running), what="the route is told again")
        await lost(bus, nats_server)
        process.kill()
        process.start()
        await process.ready()
        assert "routes that the log does not know go on" in process.log()
        assert process.gates == {running.subdomain}
        with pytest.raises(RefusedError, match="1 of 1 routes"):
            await rebuild(bus, "proxy-sync")
        for again in (running, other.model_copy(update={"phase": Phase.STOPPED})):
            await observe(bus, again)
        await wait_until(lambda: is_active(bus, running))
        await wait_until(lambda: settled(bus), timeout=40)
        report = await rebuild(bus, "proxy-sync")
        assert report.before == report.after
        assert set(answers) == {200}
    assert process.map == before
    await observe(bus, running, phase=Phase.REMOVED, generation=9)
    await wait_until(lambda: serves(client, running.subdomain, 404))


def _everything(process: ProxySyncProcess) -> None:
    for name in ("nginx", "ready", "pages"):
        # Away in one step: deleted one by one, the service would write the first again before the last is gone.
        doomed = (process.directory / name).rename(process.directory / f"{name}.deleted")
        shutil.rmtree(doomed)
    (process.directory / "nginx.conf").unlink()


def _files(process: ProxySyncProcess) -> None:
    for name in os.listdir(process.directory / "pages"):
        (process.directory / "pages" / name).unlink(missing_ok=True)
    for name in os.listdir(process.directory / "ready"):
        (process.directory / "ready" / name).unlink()
    (process.directory / "nginx.conf").unlink()
    (process.directory / "nginx" / "routes.map").unlink()


@pytest.mark.parametrize("damage", [_files, _everything])
async def test_files_that_were_deleted_while_it_runs_are_there_again(
    bus: Bus,
    process: ProxySyncProcess,
    client: SiteClient,
    site: EchoSite,
    damage: Callable[[ProxySyncProcess], None],
) -> None:
    running = await routed(bus, client, site)
    await wait_until(lambda: has_lines(process, 1))
    damage(process)
    await wait_until(lambda: _whole(process, running.subdomain), timeout=40, what="files are there again")
    await wait_until(lambda: serves(client, running.subdomain, 200), timeout=40)
    assert (await client.get("nobody")).headers["x-clawstead-page"] == "unknown"
    await wait_until(lambda: routed_now(bus, client, site), timeout=40)


async def routed_now(bus: Bus, client: SiteClient, site: EchoSite) -> bool:
    await routed(bus, client, site)
    return True


def _whole(process: ProxySyncProcess, label: str) -> bool:
    files = ("nginx.conf", "pages/unknown.html", "nginx/routes.map", f"ready/{label}", "nginx/status.sock")
    return all((process.directory / name).exists() for name in files)


async def test_files_that_were_deleted_while_it_was_stopped_are_made_again_and_the_authority_is_kept(
    bus: Bus, process: ProxySyncProcess, client: SiteClient, site: EchoSite
) -> None:
    running = await routed(bus, client, site)
    await wait_until(lambda: has_lines(process, 1))
    process.stop()
    _everything(process)
    (process.directory / "tls" / "site.pem").unlink()
    process.start()
    await process.ready()
    assert (await client.get(running.subdomain)).status_code == 200, "under the authority that users trust"
    assert _whole(process, running.subdomain)


async def test_a_lost_authority_is_made_again_with_a_clear_word(
    bus: Bus, process: ProxySyncProcess, client: SiteClient, site: EchoSite
) -> None:
    running = await routed(bus, client, site)
    await wait_until(lambda: has_lines(process, 1))
    shutil.rmtree(process.directory / "tls")
    await wait_until(lambda: "certificate authority was lost" in process.log())
    await wait_until((process.directory / "tls" / "site.json").exists)
    authority = process.directory / "tls" / "ca.pem"

    async def trusted() -> bool:
        async with SiteClient(authority, process.https_port) as anew:
            return await serves(anew, running.subdomain, 200)

    await wait_until(trusted, timeout=40, what="the new authority is served")
    assert (await bus.newest(Topic.ROUTE, running.instance_id)) is not None
