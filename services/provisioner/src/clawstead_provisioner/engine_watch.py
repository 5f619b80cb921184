"""Hears what the engine tells, for as long as it tells; after every gap everything is looked at."""

import asyncio
import contextlib
from datetime import UTC, datetime

import structlog

from clawstead_provisioner.errors import EngineUnavailableError
from clawstead_provisioner.ports import Engine
from clawstead_provisioner.reconcile import Reconciler
from clawstead_provisioner.sweep import ENGINE, Sweep
from clawstead_shared.admin import Readiness
from clawstead_shared.errors import TransientError

log = structlog.get_logger()

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 10.0
_PING_PAUSE_SECONDS = 5.0


async def watch_engine(
    engine: Engine, reconciler: Reconciler, sweep: Sweep, readiness: Readiness, since: datetime
) -> None:
    """Pass on events from ``since`` on, resubscribing for ever."""
    pause = _FIRST_PAUSE_SECONDS
    while True:
        begun = datetime.now(UTC)
        try:
            async for event in engine.events(since):
                since = max(since, event.at)
                pause = _FIRST_PAUSE_SECONDS
                reconciler.note(event)
            log.warning("engine ended its event stream")
        except EngineUnavailableError as error:
            readiness.unmet(ENGINE, error.message)
            log.warning("engine events lost", error=error.message)
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        since = max(since, begun)
        try:
            await sweep.once()
        except TransientError as error:
            log.warning("sweep failed", error=str(error))


async def watch_answers(engine: Engine, sweep: Sweep, readiness: Readiness) -> None:
    """Ask the engine for ever whether it answers: one that hangs keeps the event stream open, and tells nothing."""
    silent = False
    while True:
        await asyncio.sleep(_PING_PAUSE_SECONDS)
        try:
            await engine.ping()
        except EngineUnavailableError as error:
            readiness.unmet(ENGINE, error.message)
            if not silent:
                log.warning("engine does not answer", error=error.message)
            silent = True
            continue
        if silent:
            log.info("engine answers again")
            with contextlib.suppress(TransientError):  # the timer looks again
                await sweep.once()
        silent = False
