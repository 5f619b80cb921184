"""The one way to make a NATS broker. Each argument answers a trap that was measured (bus.md, section 6)."""

import logging
import os
from collections.abc import Awaitable, Callable

import structlog
from faststream.nats import NatsBroker
from faststream.nats.opentelemetry import NatsTelemetryMiddleware
from nats.errors import Error as NatsError
from opentelemetry.trace import get_tracer_provider

from clawstead_shared.settings import BusSettings

log = structlog.get_logger()

PING_INTERVAL_SECONDS = 5
RECONNECT_WAIT_SECONDS = 0.5
DRAIN_SECONDS = 10


def make_broker(service: str, settings: BusSettings, *, on_closed: Callable[[], None]) -> NatsBroker:
    """Return a broker that reconnects for ever; ``on_closed`` is told when its client is gone for good."""

    async def closed() -> None:
        on_closed()

    return NatsBroker(
        settings.nats_url,
        name=service,
        # FastStream's own logger would bypass ours, and with none at all its errors would be silent.
        logger=logging.getLogger("faststream"),
        # A client that gives up leaves FastStream's pull loop spinning and the event loop frozen.
        max_reconnect_attempts=-1,
        reconnect_time_wait=RECONNECT_WAIT_SECONDS,  # type: ignore[arg-type]  # nats-py takes fractions
        ping_interval=PING_INTERVAL_SECONDS,
        max_outstanding_pings=2,
        graceful_timeout=DRAIN_SECONDS,
        closed_cb=closed,
        middlewares=(NatsTelemetryMiddleware(tracer_provider=get_tracer_provider()),),
    )


def disarm_error_callback(broker: NatsBroker) -> None:
    """Replace FastStream's error callback, which kills the client for good on an authorization error."""

    async def report(error: Exception) -> None:
        log.warning("bus error", error=str(error), kind=type(error).__name__, nats=isinstance(error, NatsError))

    callback: Callable[[Exception], Awaitable[None]] = report
    broker.connection._error_cb = callback


def exit_at_once() -> None:
    """End the process: its bus client cannot recover, and the supervisor starts a fresh one."""
    log.critical("bus client closed for good, exiting")
    os._exit(1)
