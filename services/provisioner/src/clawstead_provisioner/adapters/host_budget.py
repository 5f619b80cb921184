"""Tells the API what this host can hold, in the bus's key-value bucket."""

import asyncio
import os
import time

import structlog
from nats.errors import Error as NatsError
from nats.js.errors import KeyNotFoundError

from clawstead_shared.errors import StreamsMissingError, TransientError
from clawstead_shared.hosts import HostBudget
from clawstead_shared.messaging import Bus
from clawstead_shared.streams import HOSTS_BUCKET

log = structlog.get_logger()

_LOOK_SECONDS = 1.0
_REPEAT_SECONDS = 60.0


def host_budget(*, memory_overcommit: float, cpu_overcommit: float, ports: int) -> HostBudget:
    """Return what this host can hold when limits may add up to more than it has."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return HostBudget(
        memory_bytes=round(memory_bytes * memory_overcommit),
        cpus=(os.cpu_count() or 1) * cpu_overcommit,
        instances=ports,
    )


async def publish_budget(bus: Bus, host: str, budget: HostBudget) -> None:
    """Publish the budget unless that is what the bus has.

    Raises:
        StreamsMissingError: the bucket is not declared.
        TransientError: the bus did not answer.
    """
    bucket = await bus.bucket(HOSTS_BUCKET)
    body = budget.model_dump_json().encode()
    try:
        try:
            known = (await bucket.get(host)).value
        except KeyNotFoundError:
            known = None
        if known != body:
            await bucket.put(host, body)
            log.info("host budget published", host=host, **budget.model_dump())
    except (NatsError, OSError, TimeoutError) as error:
        raise TransientError(f"the host's budget was not published: {error}") from error


async def keep_budget_published(bus: Bus, host: str, budget: HostBudget) -> None:
    """Publish the budget at every connect, and now and then: a bus may come back without it."""
    due = 0.0
    while True:
        if not bus.connected:
            due = 0.0
        elif time.monotonic() >= due:
            try:
                await publish_budget(bus, host, budget)
                due = time.monotonic() + _REPEAT_SECONDS
            except (TransientError, StreamsMissingError) as error:
                log.warning("host budget not published", error=str(error))
        await asyncio.sleep(_LOOK_SECONDS)
