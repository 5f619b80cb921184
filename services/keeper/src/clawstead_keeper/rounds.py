"""Doing one thing again and again, each time with a deadline, and less often while the bus is away."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import structlog
from prometheus_client import Counter

from clawstead_keeper.ports import Bus
from clawstead_shared.errors import TransientError
from clawstead_shared.messaging.faults import honour_cancellation

log = structlog.get_logger()

ROUND_SECONDS = 30.0
_RECONNECT_POLL_SECONDS = 0.25
_MAX_BACKOFF = 2
"""Intervals: what was broken while the bus did not answer must still be repaired soon after."""

FAILED = Counter("clawstead_keeper_rounds_failed_total", "Rounds that ended because the bus did not answer", ["task"])

Round = Callable[[], Awaitable[None]]


async def for_ever(task: str, one_round: Round, bus: Bus, *, every: timedelta) -> None:
    """Run ``one_round`` for ever, whenever the bus is there."""
    failures = 0
    while True:
        await _connected(bus)
        failures = 0 if await attempt(task, one_round) else failures + 1
        await asyncio.sleep(every.total_seconds() * min(1 + failures, _MAX_BACKOFF))


async def attempt(task: str, one_round: Round) -> bool:
    """Run one round and return whether it came to its end."""
    try:
        async with asyncio.timeout(ROUND_SECONDS):
            await one_round()
    except (TransientError, TimeoutError) as error:
        FAILED.labels(task).inc()
        log.warning("the bus did not answer", task=task, error=str(error) or "it took too long")
        return False
    finally:
        honour_cancellation()
    return True


async def _connected(bus: Bus) -> None:
    # A request while disconnected waits for its timeout, and the answer would be late.
    while not bus.connected:  # noqa: ASYNC110 - the client offers no event for it
        await asyncio.sleep(_RECONNECT_POLL_SECONDS)
