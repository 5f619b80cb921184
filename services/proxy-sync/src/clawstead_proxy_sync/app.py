"""The composition root: everything is built, wired and started here."""

import asyncio
import contextlib
import grp
import os
import pwd
import socket
from collections.abc import Awaitable, Callable
from datetime import timedelta
from ipaddress import IPv6Address
from pathlib import Path
from typing import BinaryIO

import structlog
from starlette.applications import Starlette

from clawstead_proxy_sync import dashboard, lookup, pages
from clawstead_proxy_sync.adapters.config_file import OwnConfigFile
from clawstead_proxy_sync.adapters.daemon import NginxDaemon
from clawstead_proxy_sync.adapters.dashboard_files import DashboardFiles
from clawstead_proxy_sync.adapters.files import lock, make_directory
from clawstead_proxy_sync.adapters.installed_site import InstalledSite
from clawstead_proxy_sync.adapters.layout import PASSABLE, Layout
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
from clawstead_proxy_sync.errors import explained
from clawstead_proxy_sync.facts import SERVICE
from clawstead_proxy_sync.install_command import install_command
from clawstead_proxy_sync.nginx_conf import NginxConfig
from clawstead_proxy_sync.ports import Certificate, Report
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
_LOOPBACK = "127.0.0.1"
_STANDBY_SECONDS = 1.0
_WORKER_USERS = ("www-data", "nginx", "nobody")


async def run(service: Service, settings: Settings) -> None:
    """Build the service and run it until cancelled."""
    layout = Layout(settings.directory)
    with contextlib.closing(await alone(layout, service.readiness)):
        await _run(service, settings, layout)


async def _run(service: Service, settings: Settings, layout: Layout) -> None:
    order = ordered(settings, layout.tls)
    edge = nginx_edge(settings, nginx_config(settings, await order.source.current()))
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
        daemon = SystemDaemon((_LOOPBACK, settings.edge_status_port), reload, install=install)
        server = Server(layout, command, daemon, InstalledSite(layout))
    else:
        server = Server(layout, command, NginxDaemon(layout, command), OwnConfigFile(layout, command))
    return NginxEdge(server, MapRouting(server), config, pages.render(), keep=settings.keep_edge)


def certificate_keeper(settings: Settings, order: Ordered, edge: NginxEdge, notices: Noticeboard) -> CertificateKeeper:
    """Return what keeps the certificate that the settings order, and has ``edge`` serve it."""

    async def serve(certificate: Certificate) -> None:
        await edge.reconfigure(nginx_config(settings, certificate))

    address = next((it for it in settings.edge_addresses if not it.is_unspecified), _LOOPBACK)
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


def nginx_config(settings: Settings, certificate: Certificate | None) -> NginxConfig:
    """Return the configuration that the settings and the machine ask for, without a certificate if none is given."""
    return NginxConfig(
        domain=settings.domain,
        https_port=settings.https_port,
        http_port=settings.http_port,
        public_port_suffix=settings.public_port_suffix,
        addresses=listen_addresses(settings),
        api=_address(settings.api_host, settings.api_port),
        terminal=_address(settings.terminal_host, settings.terminal_ws_port),
        route_question=f"{_address(settings.bind_host, settings.proxy_sync_port)}{lookup.PATH}",
        content_security_policy=pages.content_security_policy(),
        certificate=_as_seen_by_nginx(certificate.chain, settings.directory) if certificate else "",
        certificate_key=_as_seen_by_nginx(certificate.key, settings.directory) if certificate else "",
        certificate_digest=certificate.digest if certificate else "",
        workers=settings.edge_workers,
        drain_seconds=round(settings.edge_drain.total_seconds()),
        limits=settings.limits,
        trusted_proxies=tuple(map(str, settings.edge_trusted_proxies)),
        client_header=settings.edge_client_header,
        dashboard_policy=dashboard.content_security_policy(settings.base_url) if settings.dashboard_dir else None,
        user=worker_user(),
        **(_inside_the_machines(settings) if settings.system else {}),
    )


def _inside_the_machines(settings: Settings) -> dict[str, str]:
    # Logs and status server are nothing of our folder: nginx's master is root, opens logs by name, and makes
    # sockets that all may write. Whoever owns the folder could have it do that to any file of the machine.
    return {
        "root": f"{settings.directory}/",
        "logs": "/var/log/nginx/clawstead-",
        "status": f"{_LOOPBACK}:{settings.edge_status_port}",
    }


def listen_addresses(settings: Settings) -> tuple[str, ...]:
    """Return the addresses to listen on, as nginx writes them."""
    if settings.edge_addresses:
        return tuple(f"[{it}]" if isinstance(it, IPv6Address) else str(it) for it in settings.edge_addresses)
    return ("0.0.0.0", "[::]") if _has_ipv6() else ("0.0.0.0",)


def worker_user() -> str | None:
    """Return ``user group`` for nginx's workers when the master is root, else None: they are who we are."""
    if os.geteuid() != 0:
        return None
    for name in _WORKER_USERS:
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return f"{name} {grp.getgrgid(user.pw_gid).gr_name}"
    raise RuntimeError(f"none of the users {', '.join(_WORKER_USERS)} exists to run nginx's workers")


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


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _as_seen_by_nginx(path: Path, directory: Path) -> str:
    # Relative, so that no special character of an outer folder gets into the configuration.
    return str(path.relative_to(directory)) if path.is_relative_to(directory) else str(path)
