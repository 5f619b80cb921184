"""A real nginx in a folder of its own, on ports of its own, with small sites behind it."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import websockets

from clawstead_proxy_sync.adapters.layout import Layout
from clawstead_proxy_sync.adapters.local_ca import LocalAuthority
from clawstead_proxy_sync.adapters.nginx import NginxEdge
from clawstead_proxy_sync.app import lua_modules, nginx_edge
from clawstead_proxy_sync.edge_config import nginx_config
from clawstead_proxy_sync.nginx_map import Upstream
from clawstead_proxy_sync.settings import Settings
from clawstead_shared.admin import Readiness
from tests.support.acme.rig import AcmeRig, AcmeWorld
from tests.support.machine import Machine
from tests.support.ports import free_port
from tests.support.site import EchoSite, SiteClient


def make_settings(data_dir: Path, **overrides: Any) -> Settings:
    defaults: dict[str, Any] = {
        "data_dir": data_dir,
        "edge_addresses": "127.0.0.1",
        "https_port": free_port(),
        "http_port": free_port(),
        "proxy_sync_port": free_port(),
        "api_port": free_port(),
        "terminal_ws_port": free_port(),
    }
    return Settings(**{**defaults, **overrides})


@dataclass
class RunningEdge:
    """An edge at work: the adapter, its settings and files, and why it did not serve, over time."""

    edge: NginxEdge
    settings: Settings
    reports: list[str | None] = field(default_factory=list)

    @property
    def layout(self) -> Layout:
        return Layout(self.settings.directory)

    @property
    def pid(self) -> int:
        return int(self.layout.pid_file.read_text())


async def make_edge(settings: Settings, *, keep: bool = False) -> NginxEdge:
    certificate = await LocalAuthority(Layout(settings.directory).tls, settings.domain).current()
    settings = settings.model_copy(update={"keep_edge": keep})
    modules = await lua_modules(settings, Readiness())
    return nginx_edge(settings, nginx_config(settings, certificate, modules))


async def running(settings: Settings, *, keep: bool = False) -> AsyncIterator[RunningEdge]:
    edge = await make_edge(settings, keep=keep)
    it = RunningEdge(edge, settings)
    task = asyncio.create_task(edge.run(it.reports.append))
    await asyncio.wait_for(edge.up(), 20)
    yield it
    task.cancel()
    await asyncio.wait({task}, timeout=10)


@pytest.fixture(scope="session")
def acme_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AcmeRig]:
    """A real ACME server and its DNS, the same for all tests."""
    rig = AcmeRig(tmp_path_factory.mktemp("acme"))
    yield rig
    rig.stop()


@pytest.fixture
async def acme(acme_rig: AcmeRig) -> AsyncIterator[AcmeWorld]:
    """What stands before them, for one test."""
    async with AcmeWorld(acme_rig) as world:
        yield world


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine within this one."""
    machine = Machine()
    machine.start()
    yield machine
    machine.stop()


@pytest.fixture
async def site() -> AsyncIterator[EchoSite]:
    """A site that stands for an instance's gateway."""
    site = EchoSite()
    await site.start()
    yield site
    await site.stop()


@pytest.fixture
def routing() -> str:
    """How nginx learns of routes: as it can, unless a test says otherwise (``map_only``, ``each_way``)."""
    return "auto"


map_only = pytest.mark.parametrize("routing", ["map"])
each_way = pytest.mark.parametrize("routing", ["map", "live"])


@pytest.fixture
async def running_edge(tmp_path: Path, site: EchoSite, routing: str) -> AsyncIterator[RunningEdge]:
    """An nginx whose API and terminal are the echo site."""
    settings = make_settings(tmp_path, api_port=site.port, terminal_ws_port=site.port, edge_routing=routing)
    async for it in running(settings):
        yield it


@pytest.fixture
async def client(running_edge: RunningEdge) -> AsyncIterator[SiteClient]:
    authority = running_edge.layout.tls / "ca.pem"
    async with SiteClient(authority, running_edge.settings.https_port) as client:
        yield client


@pytest.fixture
def upstream(site: EchoSite) -> Upstream:
    return Upstream("127.0.0.1", site.port)


def socket_of(client: SiteClient, label: str = "blue") -> websockets.connect:
    """Return the way to a WebSocket of an instance."""
    return websockets.connect(
        f"wss://{label}.claw.localhost:{client.port}/socket", host="127.0.0.1", port=client.port, ssl=client.tls
    )


async def is_live(ws: websockets.ClientConnection, text: str) -> bool:
    await ws.send(text)
    async with asyncio.timeout(5):
        return await ws.recv() == f"echo {text}"


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
