"""Composition root: WebSockets in, programs in instances out, sessions published."""

import asyncio
from typing import TYPE_CHECKING

import structlog

from clawstead_shared.errors import TransientError
from clawstead_terminal.adapters.docker_exec import DockerExec
from clawstead_terminal.adapters.docker_logs import DockerLogs
from clawstead_terminal.adapters.engine import Engine
from clawstead_terminal.adapters.journal import Journal
from clawstead_terminal.adapters.vault import KeyValueVault
from clawstead_terminal.adapters.websocket_server import WebSocketServer
from clawstead_terminal.custody import Custody
from clawstead_terminal.errors import Close
from clawstead_terminal.gateway import Gateway, Rules
from clawstead_terminal.pump import Patience
from clawstead_terminal.requests import Requests
from clawstead_terminal.sessions import Outcome, Sessions
from clawstead_terminal.settings import TerminalSettings
from clawstead_terminal.subscribers import recheck, watch_observations
from clawstead_terminal.tickets import TicketOffice

if TYPE_CHECKING:
    from clawstead_shared.service import Service

log = structlog.get_logger()


async def run(service: "Service", settings: TerminalSettings) -> None:
    """Serve terminals until cancelled."""
    bus = service.bus
    sessions = Sessions()
    engine = Engine(settings.docker_socket)
    containers = DockerExec(engine)
    Requests(bus, DockerLogs(engine, settings.installation), sessions).answer(bus.control)
    custody = Custody(Journal(settings.data_dir / "terminal" / "sessions"), containers, bus, sessions)
    gateway = Gateway(
        bus=bus,
        office=TicketOffice(KeyValueVault(bus.bucket)),
        containers=containers,
        custody=custody,
        sessions=sessions,
        rules=rules(settings),
    )
    server = WebSocketServer(settings, {"/ws/terminal": gateway.terminal, "/ws/dashboard": gateway.dashboard})

    async def stop() -> None:
        sessions.end_all(Outcome("gateway_stopped", Close.GOING_AWAY, "the gateway is stopping"))
        await server.stop()

    async def look_after() -> None:
        while True:
            await asyncio.sleep(settings.terminal_recheck_interval.total_seconds())
            await custody.sweep()
            try:
                await recheck(bus, sessions)
            except TransientError as error:
                log.warning("could not check that instances still run", error=str(error))

    await service.connect()
    await custody.sweep()
    await watch_observations(bus, sessions)
    async with server.running():
        service.before_stop(stop)
        await service.run(look_after())


def rules(settings: TerminalSettings) -> Rules:
    """Return what the settings say of connections."""
    return Rules(
        auth_timeout=settings.terminal_auth_timeout,
        dashboard_timeout=settings.terminal_dashboard_timeout,
        patience=Patience(settings.terminal_idle_timeout, settings.terminal_max_duration),
        sessions_per_instance=settings.terminal_max_sessions_per_instance,
        origin_of=settings.origin,
    )
