"""Admission: whether a host has room for what is to run more.

Each provisioner publishes what its host can hold, over-allocation included. The sum of the limits of all
instances that shall run stays within that. It is checked inside the transaction that admits, and admissions
go one after the other, so that requests that come at once cannot overshoot together.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from clawstead_api import repository
from clawstead_api.errors import HostFullError
from clawstead_api.ports import HostDirectory
from clawstead_api.tables import Instance
from clawstead_shared.errors import TransientError
from clawstead_shared.events import DesiredState
from clawstead_shared.hosts import HostBudget

log = structlog.get_logger()

_KEPT_SECONDS = 5.0
_ASK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Share:
    """What one instance takes of a host."""

    memory_bytes: int = 0
    cpus: float = 0.0

    @classmethod
    def of(cls, instance: Instance) -> Self:
        """Return the share of an instance: its limits if it shall run, else nothing."""
        running = instance.wanted is DesiredState.RUNNING
        return cls(instance.memory_bytes, instance.cpus) if running else cls()


class Capacity:
    """Knows what the hosts can hold, as they said last."""

    def __init__(self, hosts: HostDirectory, clock: Callable[[], float] = time.monotonic) -> None:
        self._hosts = hosts
        self._clock = clock
        self._known: HostBudget | None = None
        self._asked_at: float | None = None
        self._asking = asyncio.Lock()

    async def budget(self) -> HostBudget | None:
        """Return the sum of all hosts' budgets; None while none was ever heard of.

        While the bus is away the last one counts on, as owners must be able to create without it.
        """
        async with self._asking:
            if self._asked_at is None or self._clock() - self._asked_at >= _KEPT_SECONDS:
                await self._ask()
        return self._known

    async def _ask(self) -> None:
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                budgets = await self._hosts.host_budgets()
            self._known = _sum(budgets) or self._known
        except (TransientError, TimeoutError) as error:
            log.info("budget of the hosts not refreshed", error=str(error))
        self._asked_at = self._clock()


async def require_room(
    session: AsyncSession, budget: HostBudget | None, instance: Instance, *, before: Share | None
) -> None:
    """Check that there is room for ``instance`` as it shall be, which took ``before`` (None: it is new).

    What does not grow is never refused, also not on a host that is too full already.

    Raises:
        HostFullError: names what is lacking.
    """
    if budget is None:
        return
    await repository.one_admission_at_a_time(session)
    held, after = before or Share(), Share.of(instance)
    memory_bytes, cpus = await repository.running_besides(session, instance.id)
    lacking = [
        name
        for name, has, had, used, most in (
            ("memory", after.memory_bytes, held.memory_bytes, memory_bytes, budget.memory_bytes),
            ("CPU", after.cpus, held.cpus, cpus, budget.cpus),
        )
        if has > had and used + has > most
    ]
    if before is None and await repository.count_besides(session, instance.id) >= budget.instances:
        lacking.append("number of instances")
    if lacking:
        log.warning("host full", lacking=lacking, plan=instance.plan, owner_id=instance.owner_id)
        raise HostFullError(", ".join(lacking))


def _sum(budgets: list[HostBudget]) -> HostBudget | None:
    if not budgets:
        return None
    return HostBudget(
        memory_bytes=sum(budget.memory_bytes for budget in budgets),
        cpus=sum(budget.cpus for budget in budgets),
        instances=sum(budget.instances for budget in budgets),
    )
