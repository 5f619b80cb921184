"""The composition root: everything is built, wired and started here."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO

import structlog
from starlette.applications import Starlette

from clawstead_proxy_sync import dashboard, lookup, pages
from clawstead_proxy_sync.adapters import lua_module
from clawstead_proxy_sync.adapters.config_file import OwnConfigFile
from clawstead_proxy_sync.adapters.control import Control
from clawstead_proxy_sync.adapters.daemon import NginxDaemon
from clawstead_proxy_sync.adapters.dashboard_files import DashboardFiles
from clawstead_proxy_sync.adapters.files import lock, make_directory
from clawstead_proxy_sync.adapters.installed_site import InstalledSite
from clawstead_proxy_sync.adapters.layout import PASSABLE, Layout
from clawstead_proxy_sync.adapters.live_routing import LiveRouting
from clawstead_proxy_sync.adapters.map_routing import MapRouting
from clawstead_proxy_sync.adapters.nginx import NginxEdge
from clawstead_proxy_sync.adapters.nginx_command import NginxCommand
from clawstead_proxy_sync.adapters.server import Server
from clawstead_proxy_sync.adapters.sources import Ordered, ordered
from clawstead_proxy_sync.adapters.system_command import SystemCommand
from clawstead_proxy_sync.adapters.system_daemon import SystemDaemon
from clawstead_proxy_sync.adapters.visitor import TlsVisitor
from clawstead_proxy_sync.backoff import Backoff
from clawstead_proxy_sync.certificates.keeper import CertificateKeeper
from clawstead_proxy_sync.certificates.telling import Bulletin
from clawstead_proxy_sync.edge_config import LOOPBACK, nginx_config
from clawstead_proxy_sync.errors import EdgeUnavailableError, NoLuaError, explained
from clawstead_proxy_sync.facts import SERVICE
from clawstead_proxy_sync.install_command import install_command
from clawstead_proxy_sync.nginx_conf import NginxConfig
from clawstead_proxy_sync.ports import Certificate, CertificateSource, Report
from clawstead_proxy_sync.publisher import MapPublisher
from clawstead_proxy_sync.reconcile import RouteKeeper
from clawstead_proxy_sync.routing import RouteTable
from clawstead_proxy_sync.settings import Settings
from clawstead_proxy_sync.subscribers import answer_for, subscribe
from clawstead_shared.admin import Readiness, admin_routes
from clawstead_shared.errors import HandlingError
from clawstead_shared.messaging import LogWatch
from clawstead_shared.messaging.noticeboard import Noticeboard, StoredNotices, publish_notice
from clawstead_shared.service import Service

log = structlog.get_logger()

_EDGE = "edge"
_TABLE = "table"
_STANDBY_SECONDS = 1.0


async def run(service: Service, settings: Settings) -> None:
    """Build the service and run it until cancelled."""
    layout = Layout(settings.directory)
    with contextlib.closing(await alone(layout, service.readiness)):
        await _run(service, settings, layout)


async def _run(service: Service, settings: Settings, layout: Layout) -> None:
    order = ordered(settings, layout.tls)
    modules = await lua_modules(settings, service.readiness)
    certificate = await first_certificate(order.source, service.readiness)
    edge = nginx_edge(settings, nginx_config(settings, certificate, modules))
    notices = StoredNotices(lambda notice: publish_notice(service.bus.jetstream, notice))
    certificates = certificate_keeper(settings, order, edge, notices)
    table = RouteTable()
    publisher = MapPublisher(
        edge,
        table.routes,
        interval=settings.edge_reload_interval,
        check=settings.edge_check_interval,
        report=reporter(service.readiness, _TABLE),
    )
    keeper = RouteKeeper(table, edge, publisher, service.bus, settings.hostname)
    service.http = Starlette(routes=[*admin_routes(SERVICE, service.readiness), lookup.lookup_route(keeper)])
    subscribe(service.bus, keeper)
    answer_for(certificates, service.bus)

    async def repair_gates() -> None:
        keeper.repair_gates()

    async with asyncio.TaskGroup() as group:
        # The edge first: it serves the stored table while the bus may still be away.
        service.readiness.unmet(_EDGE, "nginx is not started yet")
        group.create_task(edge.run(reporter(service.readiness)), name="edge")
        group.create_task(publisher.run(), name="publisher")
        # Not in one loop: a reload that a lost certificate makes fail holds up the repair of the other files.
        group.create_task(certificates.run(edge.up), name="certificates")
        group.create_task(notices.run(), name="notices")
        group.create_task(repeat(edge.repair, settings.edge_check_interval), name="files")
        if settings.dashboard_dir:
            group.create_task(serve_dashboard(settings.dashboard_dir, settings), name="dashboard")
        await edge.up()
        await service.connect()
        log_watch = LogWatch(lambda: service.bus.jetstream)
        await until_done(log_watch.look)
        await until_done(keeper.boot)
        await service.run(
            repeat(repair_gates, settings.edge_check_interval),
            repeat(keeper.resync, settings.edge_resync_interval),
            log_watch.run(keeper.renew),
        )


def reporter(readiness: Readiness, condition: str = _EDGE) -> Report:
    """Return what tells operators whether the edge serves, or another condition holds."""

    def report(why: str | None) -> None:
        if why is None:
            readiness.met(condition)
        else:
            readiness.unmet(condition, why)

    return report


async def alone(layout: Layout, readiness: Readiness) -> BinaryIO:
    """Wait until no other proxy-sync works in this folder; return the lock that keeps others out."""
    while True:
        try:
            make_directory(layout.directory, mode=PASSABLE)
            return lock(layout.lock_file)
        except BlockingIOError:
            readiness.unmet(_EDGE, f"another proxy-sync works in {layout.directory}")
        except OSError as error:
            log.error("the folder cannot be used", error=explained(error))  # noqa: TRY400 - expected, and said in full
            readiness.unmet(_EDGE, explained(error))
        await asyncio.sleep(_STANDBY_SECONDS)


def nginx_edge(settings: Settings, config: NginxConfig) -> NginxEdge:
    """Return the edge that the settings ask for."""
    layout = Layout(settings.directory)
    command = NginxCommand(settings.nginx_binary, layout.directory)
    if settings.system:
        install = install_command(settings)
        reload = SystemCommand(settings.nginx_binary, install=install)
        daemon = SystemDaemon((LOOPBACK, settings.edge_status_port), reload, install=install)
        server = Server(layout, command, daemon, InstalledSite(layout))
        control = Control((LOOPBACK, settings.edge_control_port), layout.control_key)
    else:
        control = Control(layout.control_socket)
        server = Server(
            layout, command, NginxDaemon(layout, command, settings.edge_drain_workers), OwnConfigFile(layout, command)
        )
    routing = LiveRouting(server, control) if config.live else MapRouting(server)
    return NginxEdge(server, routing, config, pages.render(), keep=settings.keep_edge)


def certificate_keeper(settings: Settings, order: Ordered, edge: NginxEdge, notices: Noticeboard) -> CertificateKeeper:
    """Return what keeps the certificate that the settings order, and has ``edge`` serve it."""

    async def serve(certificate: Certificate) -> None:
        await edge.reconfigure(nginx_config(settings, certificate, edge.config.modules))

    address = next((it for it in settings.edge_addresses if not it.is_unspecified), LOOPBACK)
    return CertificateKeeper(
        order.source,
        serve,
        order=order.order,
        settings=order.settings,
        visitor=TlsVisitor(str(address), settings.https_port, settings.domain),
        recollection=order.memory,
        bulletin=Bulletin(settings.domain, notices),
        interval=settings.certificate_check_interval,
        look_every=settings.edge_check_interval,
    )


async def lua_modules(settings: Settings, readiness: Readiness) -> tuple[str, ...]:
    """Return what nginx has to load so that routes change at once, nothing if every change is to be a reload.

    Waits until nginx is there, and its module if the settings insist on it.
    """
    if settings.edge_routing == "map" or settings.system:
        return ()
    layout, backoff = Layout(settings.directory), Backoff()
    while True:
        try:
            return await lua_module.find(layout, NginxCommand(settings.nginx_binary, layout.directory))
        except NoLuaError as error:
            if settings.edge_routing == "auto":
                log.warning("every change of routes will be a reload of nginx", why=str(error))
                return ()
            log.error("routes cannot be changed at once", why=str(error))  # noqa: TRY400 - expected, and said in full
            readiness.unmet(_EDGE, f"CLAWSTEAD_EDGE_ROUTING is live, but {error}")
        except EdgeUnavailableError as error:
            log.error("nginx cannot be used", why=str(error))  # noqa: TRY400 - expected, and said in full
            readiness.unmet(_EDGE, str(error))
        await asyncio.sleep(backoff.next())


async def first_certificate(source: CertificateSource, readiness: Readiness) -> Certificate:
    """Wait until there is a certificate: without one nginx cannot begin."""
    backoff = Backoff()
    while True:
        try:
            return await source.current()
        except OSError as error:
            log.error("there is no certificate to serve", error=explained(error))  # noqa: TRY400 - expected
            readiness.unmet(_EDGE, f"there is no certificate to serve: {explained(error)}")
        await asyncio.sleep(backoff.next())


async def serve_dashboard(build: Path, settings: Settings) -> None:
    """Serve the dashboard as it was built last, until cancelled."""
    files = DashboardFiles(build, settings.directory / dashboard.FOLDER)
    while True:
        try:
            await asyncio.to_thread(files.refresh)
        except OSError as error:
            log.warning("the dashboard is not taken over", error=str(error))
        await asyncio.sleep(settings.edge_check_interval.total_seconds())


async def repeat(action: Callable[[], Awaitable[None]], every: timedelta) -> None:
    """Do ``action`` at every interval; what fails for now is done at the next."""
    while True:
        await asyncio.sleep(every.total_seconds())
        try:
            await action()
        except (HandlingError, OSError) as error:
            log.warning("will be tried again", error=explained(error))


async def until_done(action: Callable[[], Awaitable[object]]) -> None:
    """Repeat ``action``, with growing pauses, until it succeeds."""
    backoff = Backoff()
    while True:
        try:
            await action()
        except (HandlingError, OSError) as error:
            log.warning("not yet", error=explained(error))
            await asyncio.sleep(backoff.next())
        else:
            return
