"""The disk below a running edge is full, out of inodes, or can only be read: it says so, and what is served goes on."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from clawstead_shared.events import Observed, Phase
from clawstead_shared.messaging import Bus
from tests.integration.proxy_sync.test_faults import serves
from tests.integration.proxy_sync.test_service import has_lines, is_active, observe, routed
from tests.support.answers import asked
from tests.support.factories import make_observed
from tests.support.machine import Machine
from tests.support.nats_server import NatsServer
from tests.support.proxy_sync_process import ProxySyncProcess
from tests.support.site import EchoSite, SiteClient
from tests.support.wait import wait_until

DISK = "/srv/small"
FILLER = f"{DISK}/filler"


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine()
    machine.start()
    machine.run("mkdir", DISK)
    machine.run("mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=200,mode=755", "tmpfs", DISK)
    yield machine
    machine.stop()


@pytest.fixture
async def process(
    request: pytest.FixtureRequest, tmp_path: Path, bus: Bus, nats_server: NatsServer, machine: Machine
) -> AsyncIterator[ProxySyncProcess]:
    """A ready proxy-sync on a small disk of its own."""
    routing = getattr(request, "param", "auto")
    settings = {"CLAWSTEAD_DATA_DIR": DISK, "CLAWSTEAD_EDGE_ROUTING": routing}
    process = ProxySyncProcess(tmp_path, nats_server, launcher=machine.inside(), **settings)
    process.directory = machine.path(f"{DISK}/proxy-sync")
    process.start()
    await process.ready()
    yield process
    process.kill()


@pytest.fixture
async def client(process: ProxySyncProcess, tmp_path: Path) -> AsyncIterator[SiteClient]:
    authority = tmp_path / "ca.pem"
    authority.write_bytes((process.directory / "tls" / "ca.pem").read_bytes())
    async with SiteClient(authority, process.https_port) as client:
        yield client


async def says(process: ProxySyncProcess, *words: str) -> bool:
    """Say whether the table is not published for a reason that has all these words."""
    why = (await process.waiting()).get("table", "")
    return all(word in why for word in words)


async def reached(client: SiteClient, observed: Observed) -> None:
    await wait_until(lambda: serves(client, observed.subdomain, 200), what=f"{observed.subdomain} is served")


@pytest.mark.parametrize("process", ["live", "map"], indirect=True)
async def test_a_full_disk_is_named_and_routes_go_on_open_and_close(
    bus: Bus, machine: Machine, process: ProxySyncProcess, client: SiteClient, site: EchoSite
) -> None:
    first, leaving = await routed(bus, client, site), await routed(bus, client, site)
    await wait_until(lambda: has_lines(process, 2))
    async with asked(client, first.subdomain) as seen:
        machine.run("sh", "-c", f"cat /dev/zero >{FILLER}", check=False)
        late = await observe(bus, make_observed(port=site.port))
        await wait_until(lambda: says(process, "No space left", f"{DISK}/proxy-sync/nginx/", "routes.map.new", "df -h"))
        await observe(bus, leaving, phase=Phase.STOPPED, generation=2)
        await wait_until(lambda: serves(client, leaving.subdomain, 503), what="a gate closes without room")
        machine.run("rm", FILLER)
        await wait_until(lambda: is_active(bus, late))
        await reached(client, late)
        await process.ready()
        await wait_until(lambda: has_lines(process, 3), timeout=40)
        assert set(seen) == {200}


async def test_a_disk_without_inodes_is_named_and_a_route_opens_once_there_are_some(
    bus: Bus, machine: Machine, process: ProxySyncProcess, client: SiteClient, site: EchoSite
) -> None:
    first = await routed(bus, client, site)
    await wait_until(lambda: has_lines(process, 1))
    async with asked(client, first.subdomain) as seen:
        fill = f"mkdir {FILLER}; i=0; while : 2>/dev/null >{FILLER}/$i; do i=$((i+1)); done"
        machine.run("sh", "-c", fill, check=False)
        late = await observe(bus, make_observed(port=site.port))
        await wait_until(lambda: "df -i" in process.log() and f"ready/{late.subdomain}" in process.log())
        assert (await client.get(late.subdomain)).status_code == 503
        machine.run("rm", "-r", FILLER)
        await wait_until(lambda: is_active(bus, late), timeout=40)
        await reached(client, late)
        await process.ready()
        assert set(seen) == {200}


@pytest.mark.parametrize("process", ["live", "map"], indirect=True)
async def test_a_folder_that_can_only_be_read_is_named_and_written_again_when_it_can_be(
    bus: Bus, machine: Machine, process: ProxySyncProcess, client: SiteClient, site: EchoSite
) -> None:
    first = await routed(bus, client, site)
    await wait_until(lambda: has_lines(process, 1))
    folder = f"{DISK}/proxy-sync/nginx"
    async with asked(client, first.subdomain) as seen:
        machine.run("mount", "--bind", folder, folder)
        machine.run("mount", "-o", "remount,bind,ro", folder)
        late = await observe(bus, make_observed(port=site.port))
        await wait_until(lambda: says(process, "Read-only file system", f"{folder}/", "routes.map.new", "remount,rw"))
        machine.run("umount", folder)
        await reached(client, late)
        await process.ready()
        await wait_until(lambda: has_lines(process, 2), timeout=40)
        assert set(seen) == {200}


async def test_a_proxy_sync_that_starts_on_a_disk_that_can_only_be_read_says_so_and_then_adopts(
    bus: Bus, machine: Machine, process: ProxySyncProcess, client: SiteClient, site: EchoSite
) -> None:
    first = await routed(bus, client, site)
    await wait_until(lambda: has_lines(process, 1))
    nginx = process.nginx_pid
    async with asked(client, first.subdomain) as seen:
        process.kill()
        machine.run("mount", "--bind", DISK, DISK)
        machine.run("mount", "-o", "remount,bind,ro", DISK)
        process.start()
        await wait_until(lambda: "Read-only file system" in process.log() and "remount,rw" in process.log())
        process.kill()
        machine.run("umount", DISK)
        process.start()
        await process.ready()
        assert process.nginx_pid == nginx
        assert set(seen) == {200}
