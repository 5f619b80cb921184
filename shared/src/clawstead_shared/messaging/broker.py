"""The one way to make a NATS broker. Each argument answers a trap that was measured (bus.md, section 6)."""

import logging
import os
from collections.abc import Awaitable, Callable

import structlog
from faststream.nats import NatsBroker
from faststream.nats.opentelemetry import NatsTelemetryMiddleware
from faststream.nats.security import NatsNKey
from nats.errors import Error as NatsError
from opentelemetry.trace import get_tracer_provider

from clawstead_shared.credentials import inbox_prefix, read_seed
from clawstead_shared.settings import BusSettings

log = structlog.get_logger()

PING_INTERVAL_SECONDS = 5
RECONNECT_WAIT_SECONDS = 0.5
DRAIN_SECONDS = 10

OnError = Callable[[Exception], None]


def make_broker(service: str, settings: BusSettings, *, on_closed: Callable[[], None], on_error: OnError) -> NatsBroker:
    """Return a broker that reconnects for ever; ``on_closed`` is told when its client is gone for good.

    Raises:
        SeedFileError: the seed that the settings name cannot be used.
    """

    async def closed() -> None:
        on_closed()

    async def failed(error: Exception) -> None:
        on_error(error)

    seed_file = settings.nats_seed_file
    return NatsBroker(
        settings.nats_url,
        name=service,
        security=NatsNKey.from_seed(read_seed(seed_file)) if seed_file else None,
        inbox_prefix=inbox_prefix(service),
        # FastStream's own logger would bypass ours, and with none at all its errors would be silent.
        logger=logging.getLogger("faststream"),
        # A client that gives up leaves FastStream's pull loop spinning and the event loop frozen.
        max_reconnect_attempts=-1,
        reconnect_time_wait=RECONNECT_WAIT_SECONDS,  # type: ignore[arg-type]  # nats-py takes fractions
        ping_interval=PING_INTERVAL_SECONDS,
        max_outstanding_pings=2,
        graceful_timeout=DRAIN_SECONDS,
        closed_cb=closed,
        error_cb=failed,
        middlewares=(NatsTelemetryMiddleware(tracer_provider=get_tracer_provider()),),
    )


def disarm_error_callback(broker: NatsBroker, on_error: OnError) -> None:
    """Replace FastStream's error callback, which kills the client for good on an authorization error."""

    async def report(error: Exception) -> None:
        on_error(error)
        log.warning("bus error", error=str(error), kind=type(error).__name__, nats=isinstance(error, NatsError))

    callback: Callable[[Exception], Awaitable[None]] = report
    broker.connection._error_cb = callback


def exit_at_once() -> None:
    """End the process: its bus client cannot recover, and the supervisor starts a fresh one."""
    log.critical("bus client closed for good, exiting")
    os._exit(1)
