"""Composition root: observations in, probes out, verdicts and history kept."""

import asyncio
import contextlib
import resource
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import SQLAlchemyError

from clawstead_health.adapters.gateway_http import HttpGateway
from clawstead_health.adapters.history_sql import SqlHistory, make_engine
from clawstead_health.handlers import Monitor
from clawstead_health.settings import HealthSettings
from clawstead_health.subscribers import subscribe
from clawstead_shared.errors import TransientError
from clawstead_shared.messaging import LogWatch

if TYPE_CHECKING:
    from clawstead_shared.service import Service

_BOOT_RETRY_SECONDS = 1.0
_LAST_FLUSH_SECONDS = 5.0

log = structlog.get_logger()


async def run(service: "Service", settings: HealthSettings) -> None:
    """Watch all instances until cancelled."""
    allow_many_connections()
    engine = make_engine(settings.database_url)
    history = SqlHistory(engine, retention=settings.health_retention, max_rows=settings.health_max_rows)
    gateway = HttpGateway(
        timeout=settings.probe_timeout, keep=settings.probe_interval * 2, concurrency=settings.probe_concurrency
    )
    try:
        async with gateway:
            monitor = Monitor(
                service.bus,
                gateway,
                history,
                interval=settings.probe_interval,
                interval_starting=settings.probe_interval_starting,
                concurrency=settings.probe_concurrency,
            )
            subscribe(service.bus, monitor)
            await service.connect()
            log_watch = LogWatch(lambda: service.bus.jetstream)
            await _until_done(log_watch.look)
            await _until_done(monitor.resync)
            await service.run(
                monitor.prober.run(),
                _resync_for_ever(monitor, settings),
                history.write(),
                history.prune(),
                log_watch.run(monitor.renew),
            )
    finally:
        with contextlib.suppress(SQLAlchemyError, OSError):
            async with asyncio.timeout(_LAST_FLUSH_SECONDS):
                await history.flush()
        await engine.dispose()


def allow_many_connections() -> None:
    """Raise the soft limit of open files to the hard one: a kept connection per instance needs them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _until_done(look: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await look()
        except TransientError as error:
            log.warning("first look at the log failed", error=str(error))
            await asyncio.sleep(_BOOT_RETRY_SECONDS)
        else:
            return


async def _resync_for_ever(monitor: Monitor, settings: HealthSettings) -> None:
    while True:
        await asyncio.sleep(settings.resync_interval.total_seconds())
        try:
            await monitor.resync()
        except TransientError as error:
            log.warning("comparison with the observations failed", error=str(error))
