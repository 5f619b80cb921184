"""What the use cases work with, and what every change of an instance ends with."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from clawstead_api import audit, idempotency, repository
from clawstead_api.admission import Capacity
from clawstead_api.auth import Principal
from clawstead_api.database import Database
from clawstead_api.desires import desired_of
from clawstead_api.idempotency import Once
from clawstead_api.keys import KeyExchange
from clawstead_api.plans import Plans
from clawstead_api.ports import Archive, InstanceOutput
from clawstead_api.sealing import Part, Vault, deposited, packed
from clawstead_api.tables import Instance, Secret, Status
from clawstead_api.tickets import TicketIssuer
from clawstead_api.views import InstanceView, instance_view
from clawstead_shared.events import EventType, Phase
from clawstead_shared.settings import EdgeSettings


@dataclass(frozen=True, slots=True)
class Desk:
    """What the use cases work with."""

    database: Database
    keys: KeyExchange
    vault: Vault
    tickets: TicketIssuer
    plans: Plans
    capacity: Capacity
    edge: EdgeSettings
    image: str
    """Image of instances whose owner named none."""
    archive: Archive
    """The log."""
    output: InstanceOutput
    """What containers write."""
    wake: Callable[[], None]
    """Tells the relay that rows were committed."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, in which request, and how to recognise the request when it comes again."""

    principal: Principal
    request_id: str
    once: Once | None = None

    @property
    def owner_id(self) -> str:
        """Whose instances the caller sees."""
        return self.principal.owner_id


def next_generation(instance: Instance) -> None:
    """Count the change that is being made."""
    instance.generation += 1
    instance.updated_at = datetime.now(UTC)


async def accepted(
    session: AsyncSession,
    desk: Desk,
    caller: Caller,
    known: repository.Known,
    *,
    type_: EventType,
    sealed: bytes | None = None,
) -> InstanceView:
    """Have the bus told of a change, and return what the client is answered, now and when it repeats itself."""
    instance, status = known
    desired = desired_of(instance, actor=caller.principal.actor, request_id=caller.request_id)
    await audit.record(session, type_, desired, sealed)
    view = instance_view(instance, status, desk.edge)
    idempotency.remember(session, caller.once, view.model_dump(mode="json"))
    return view


async def entrust(
    session: AsyncSession, instance: Instance, changes: dict[Part, str | None], *, locked: bytes | None = None
) -> bytes:
    """Replace some of an instance's sealed secrets, and return what the bus is to keep of all of them.

    ``locked`` is a new gateway token.
    """
    secret = await session.get_one(Secret, instance.id)
    secret.sealed = packed(changes, secret.sealed)
    secret.gateway_token = locked or secret.gateway_token
    secret.revision = instance.secret_revision = instance.secret_revision + 1
    return deposited(secret.sealed, secret.gateway_token)


def phase_of(status: Status | None) -> Phase:
    """Return the phase that was observed last."""
    return Phase(status.phase) if status else Phase.PENDING
