"""The edge in a machine's nginx that serves another site, too. Proxy-sync is nobody there, but for one rule of sudo."""

import asyncio
import contextlib
import json
import shlex
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from clawstead_proxy_sync.adapters.installed_site import check_reachable
from clawstead_proxy_sync.errors import EdgeUnavailableError
from clawstead_shared.control import CertificateReport, CertificateRequest, Verb
from clawstead_shared.messaging import Bus
from clawstead_shared.messaging.control import ask
from tests.integration.proxy_sync.conftest import is_live, socket_of
from tests.integration.proxy_sync.test_faults import serves
from tests.integration.proxy_sync.test_service import has_lines, routed
from tests.support.answers import asked
from tests.support.machine import USER, Machine
from tests.support.nats_server import NatsServer
from tests.support.ports import free_port
from tests.support.proxy_sync_process import ProxySyncProcess
from tests.support.site import EchoSite, SiteClient
from tests.support.wait import wait_until

DATA = "/srv/clawstead"
SITE, RULE = "/etc/nginx/conf.d/clawstead.conf", "/etc/sudoers.d/clawstead"
OTHER = "/etc/nginx/sites-enabled/other"


@pytest.fixture
def other_port(machine: Machine) -> int:
    """Where the machine's other site answers."""
    port = free_port()
    machine.path(OTHER).write_text(
        f"server {{ listen 127.0.0.1:{port}; server_name shop.example; return 200 other; }}\n"
    )
    return port


@pytest.fixture
def process(
    request: pytest.FixtureRequest, tmp_path: Path, nats_server: NatsServer, machine: Machine, other_port: int
) -> Iterator[ProxySyncProcess]:
    """A proxy-sync that is not started yet, run by a user who may do nothing."""
    process = ProxySyncProcess(
        tmp_path,
        nats_server,
        launcher=machine.inside(user=USER),
        CLAWSTEAD_DATA_DIR=DATA,
        CLAWSTEAD_EDGE_MODE="system",
        CLAWSTEAD_EDGE_STATUS_PORT=str(free_port()),
        CLAWSTEAD_EDGE_CONTROL_PORT=str(free_port()),
        CLAWSTEAD_EDGE_ROUTING=getattr(request, "param", "auto"),
    )
    process.directory = machine.path(f"{DATA}/proxy-sync")
    yield process
    process.kill()


@pytest.fixture
async def client(machine: Machine, process: ProxySyncProcess, tmp_path: Path) -> AsyncIterator[SiteClient]:
    """A visitor of the edge, which is installed and whose nginx and proxy-sync run."""
    edge(machine, process, "install", "--yes")
    machine.run("nginx")
    process.start()
    await process.ready()
    authority = tmp_path / "ca.pem"
    authority.write_bytes((process.directory / "tls" / "ca.pem").read_bytes())
    async with SiteClient(authority, process.https_port) as client:
        yield client


def edge(machine: Machine, process: ProxySyncProcess, command: str, *options: str, good: bool = True) -> str:
    """Type ``clawstead edge …`` as root of the machine and return what it said."""
    program = str(Path(sys.executable).with_name("clawstead"))
    user = [] if command == "uninstall" else ["--user", USER]
    done = machine.run(program, "edge", command, *user, *options, environment=process.settings, check=False)
    assert (done.returncode == 0) is good, f"{done.stdout}{done.stderr}"
    return f"{done.stdout}{done.stderr}"


async def answers(port: int) -> bool:
    async with httpx.AsyncClient() as http:
        try:
            return (await http.get(f"http://127.0.0.1:{port}/")).text == "other"
        except httpx.TransportError:
            return False


def master(machine: Machine) -> str:
    return machine.path("/run/nginx.pid").read_text().strip()


async def test_install_is_whole_or_not_at_all_and_uninstall_leaves_nothing(
    machine: Machine, process: ProxySyncProcess, other_port: int
) -> None:
    site, rule = machine.path(SITE), machine.path(RULE)
    machine.run("nginx")
    planned = json.loads(edge(machine, process, "install", "--dry-run", "--json"))["files"]
    assert not site.exists()
    edge(machine, process, "install", "--yes")
    assert {SITE: site.read_text(), RULE: rule.read_text()} == planned
    assert [stat.S_IMODE(path.stat().st_mode) for path in (site, rule)] == [0o644, 0o440]
    assert {path.stat().st_uid for path in (site, rule)} == {0}
    assert json.loads(edge(machine, process, "status", "--json"))["good"], "loaded, and not only written"
    assert "already" in edge(machine, process, "install"), "and nobody is asked"
    assert machine.run("sudo", "-n", "/usr/sbin/nginx", "-s", "reload", user=USER).returncode == 0
    for more in (["-s", "stop"], ["-s", "reload", "-c", "/tmp/x"], ["-t"], []):
        assert machine.run("sudo", "-n", "/usr/sbin/nginx", *more, user=USER, check=False).returncode != 0
    assert await answers(other_port)
    edge(machine, process, "uninstall", "--yes")
    assert not site.exists()
    assert not rule.exists()
    assert "Nothing to do" in edge(machine, process, "uninstall")
    assert await answers(other_port)


async def test_what_the_machine_refuses_changes_nothing_and_is_named(
    machine: Machine, process: ProxySyncProcess, other_port: int
) -> None:
    other = machine.path(OTHER)
    good = other.read_text()
    other.write_text(f"{good}\nserver {{ listen {process.https_port}; server_name a.example; }}")
    assert f"{OTHER} listens on *:{process.https_port}" in edge(machine, process, "install", good=False)
    # Only both together are refused: the other site alone is fine, and so is ours.
    other.write_text(f"{good}\nlog_format claw combined;")
    assert "everything is as it was" in edge(machine, process, "install", "--yes", good=False)
    assert not machine.path(SITE).exists()
    assert not machine.path(RULE).exists()


@contextlib.contextmanager
def held(machine: Machine, port: int) -> Iterator[None]:
    """Have a program of the machine that is no nginx listen on a port."""
    script = f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); print(flush=True); time.sleep(600)"
    with subprocess.Popen([*machine.inside(), sys.executable, "-c", script], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        try:
            assert holder.stdout.readline() == b"\n"
            yield
        finally:
            holder.kill()


async def test_a_port_that_another_program_holds_is_named_and_what_was_loaded_goes_on(
    machine: Machine, process: ProxySyncProcess, other_port: int
) -> None:
    site, rule, first = machine.path(SITE), machine.path(RULE), process.https_port
    machine.run("nginx")
    with held(machine, first):
        said = edge(machine, process, "install", "--yes", good=False)
        assert f"127.0.0.1:{first} failed (98" in said
        assert "is held by python" in said
        assert not site.exists()
        assert not rule.exists()
        assert "98" in edge(machine, process, "install", "--yes", good=False), "and no `Nothing to do`"
    assert "The site is installed" in edge(machine, process, "install", "--yes")
    old, loaded = site.read_text(), json.loads(edge(machine, process, "status", "--json"))["served"]
    process._environment["CLAWSTEAD_HTTPS_PORT"] = str(second := free_port())
    with held(machine, second):
        assert f"127.0.0.1:{second} failed (98" in edge(machine, process, "install", "--yes", good=False)
        assert site.read_text() == old
        status = json.loads(edge(machine, process, "status", "--json", good=False))
        assert (status["site"], status["served"]) == ("stale", loaded)
        assert await answers(other_port)


@pytest.mark.parametrize("process", ["map", "live"], indirect=True)
async def test_routes_are_served_by_the_machines_nginx_while_it_and_proxy_sync_come_and_go(
    bus: Bus, machine: Machine, process: ProxySyncProcess, client: SiteClient, site: EchoSite, other_port: int
) -> None:
    first = await routed(bus, client, site)
    assert (await client.get("nobody")).headers["x-clawstead-page"] == "unknown"
    keys = [*(process.directory / "tls").glob("*.key"), process.directory / "tls" / "served.pem"]
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    await wait_until(lambda: has_lines(process, 1))
    before = master(machine)
    async with asked(client, first.subdomain) as seen, socket_of(client, first.subdomain) as ws:
        await ws.recv()
        process.kill()
        assert await serves(client, first.subdomain, 200)
        process.start()
        await process.ready()
        await routed(bus, client, site)
        await wait_until(lambda: has_lines(process, 2))
        renewal = CertificateRequest(action="renew", force=True)
        renewed = await ask(bus.client, "proxy-sync", Verb.CERTIFICATE, renewal, CertificateReport, timeout=30)
        assert (renewed.changed, renewed.served) == (True, True)
        assert await is_live(ws, "through kill and reload")
        assert set(seen) == {200}
    assert master(machine) == before
    assert await answers(other_port)
    assert not (process.directory / "nginx.conf").exists(), "proxy-sync writes no configuration here"
    if process.settings["CLAWSTEAD_EDGE_ROUTING"] == "live":
        await only_the_key_changes_routes(process)
    installed = machine.path(SITE).read_text()
    machine.path(SITE).unlink()
    machine.run("nginx", "-s", "reload")
    await wait_until(lambda: says(process, "does not serve Clawstead's site: type `sudo env CLAWSTEAD_DATA_DIR="))
    machine.run("nginx", "-s", "quit")
    machine.path(SITE).write_text(installed)
    await wait_until(lambda: says(process, "type `sudo systemctl start nginx`"))
    machine.run("nginx")
    await process.ready()
    # Gates were closed while there was no nginx, and open again once the table is proved.
    await wait_until(lambda: serves(client, first.subdomain, 200))
    await routed(bus, client, site)


async def only_the_key_changes_routes(process: ProxySyncProcess) -> None:
    """Ask as somebody else on the machine would, and as proxy-sync does."""
    key = process.directory / "control" / "key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    control = f"http://127.0.0.1:{process.settings['CLAWSTEAD_EDGE_CONTROL_PORT']}"
    async with httpx.AsyncClient() as http:
        for headers in ({}, {"X-Clawstead-Key": ""}, {"X-Clawstead-Key": "0" * 64}):
            assert (await http.get(f"{control}/table", headers=headers)).status_code == 403
            assert (await http.post(f"{control}/load?to=1", headers=headers)).status_code == 403
        assert (await http.get(f"{control}/table", headers={"X-Clawstead-Key": key.read_text()})).status_code == 200


async def says(process: ProxySyncProcess, words: str) -> str | None:
    """Return why the edge is not ready, if it says so in these words."""
    why: str = (await process.waiting()).get("edge", "")
    return why if words in why else None


async def test_a_lost_rule_and_a_stale_site_are_named_with_what_to_type_while_routes_go_on(
    bus: Bus, machine: Machine, process: ProxySyncProcess, client: SiteClient, site: EchoSite
) -> None:
    observed = await routed(bus, client, site)
    await wait_until(lambda: has_lines(process, 1))
    async with asked(client, observed.subdomain) as seen:
        rule = machine.path(RULE).read_text()
        machine.path(RULE).unlink()
        second = await routed(bus, client, site)  # by its gate, and by asking: no reload is needed for that
        await wait_until(lambda: f"sudo does not let {USER} reload nginx" in process.log())
        machine.path(RULE).write_text(rule)
        await wait_until(lambda: has_lines(process, 2), timeout=20)
        process.kill()
        process._environment["CLAWSTEAD_API_PORT"] = str(free_port())
        process.start()
        stale = await wait_until(lambda: says(process, "is not the one these settings ask for"))
        await wait_until(lambda: serves(client, second.subdomain, 200))
        assert set(seen) == {200}
        command = shlex.split(stale.split("`")[1])
        assert command[:2] == ["sudo", "env"]
        assert f"CLAWSTEAD_API_PORT={process.settings['CLAWSTEAD_API_PORT']}" in command
        program = Path(sys.executable).with_name("clawstead")
        typed = [str(program) if word == "clawstead" else word for word in command[1:]]
        await asyncio.to_thread(machine.run, *typed, "--yes")
        await process.ready()
        assert set(seen) == {200}


def test_a_folder_that_workers_cannot_pass_and_one_that_nginx_cannot_be_told_of_are_named(tmp_path: Path) -> None:
    data = tmp_path / "data" / "proxy-sync"
    data.mkdir(parents=True)
    data.parent.chmod(0o700)
    with pytest.raises(EdgeUnavailableError, match=f"sudo chmod o\\+x .*{data.parent}"):
        check_reachable(data)
    with pytest.raises(EdgeUnavailableError, match="set CLAWSTEAD_DATA_DIR to another"):
        check_reachable(tmp_path / "two words")
