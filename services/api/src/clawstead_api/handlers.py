"""What the API does for its clients: each function is one use case, and one transaction at most.

A change writes the instance, the outbox rows that tell the bus, and the stored answer together; the relay is
woken once that is committed. Nothing here waits for the bus while a transaction is open.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import SecretStr
from sqlmodel.ext.asyncio.session import AsyncSession

from clawstead_api import idempotency, lifecycle, outbox, repository
from clawstead_api.auth import Principal
from clawstead_api.database import Database
from clawstead_api.desires import desired_of, new_spec, respecified
from clawstead_api.errors import NotRunningError, SubdomainTakenError
from clawstead_api.idempotency import Once
from clawstead_api.keys import KeyExchange
from clawstead_api.lifecycle import EVENT_TYPES, Command
from clawstead_api.plans import Plan, Plans
from clawstead_api.repository import Filters
from clawstead_api.requests import ChangeInstance, CreateInstance, Setup, check_change, check_new
from clawstead_api.sealing import InstanceSecrets, Vault, seal
from clawstead_api.tables import Instance, Secret, Status
from clawstead_api.tickets import Ticket, TicketIssuer
from clawstead_api.views import InstanceDetail, InstancePage, InstanceView, instance_detail, instance_view
from clawstead_shared.events import DesiredState, EventType, Phase
from clawstead_shared.ids import new_instance_id
from clawstead_shared.settings import EdgeSettings
from clawstead_shared.tickets import Purpose


@dataclass(frozen=True, slots=True)
class Desk:
    """What the use cases work with."""

    database: Database
    keys: KeyExchange
    vault: Vault
    tickets: TicketIssuer
    plans: Plans
    edge: EdgeSettings
    image: str
    """Image of instances whose owner named none."""
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


async def create(desk: Desk, caller: Caller, request: CreateInstance) -> InstanceView:
    """Accept a new instance.

    Raises:
        ApiError: it breaks a rule, its subdomain is taken, or something we depend on is away.
    """
    plan = check_new(request, desk.plans)
    token = secrets.token_hex(32)
    sealed = seal(
        InstanceSecrets(gateway_token=SecretStr(token), bot_token=request.bot_token, api_key=request.api_key),
        await desk.keys.sealing_key(),
    )

    async def work(session: AsyncSession) -> InstanceView:
        if answer := await idempotency.answer_of(session, caller.once):
            return InstanceView.model_validate(answer)
        if request.subdomain and await repository.subdomain_is_taken(session, request.subdomain):
            raise SubdomainTakenError
        instance = _new_instance(desk, caller, request, plan)
        session.add(instance)
        await session.flush()
        session.add(
            Secret(
                instance_id=instance.id,
                owner_id=instance.owner_id,
                revision=instance.secret_revision,
                sealed=sealed,
                gateway_token=desk.vault.lock(token),
            )
        )
        return _accepted(session, desk, caller, (instance, None), type_=EventType.CREATED, sealed=sealed)

    view = await desk.database.transact(work)
    desk.wake()
    return view


async def change(desk: Desk, caller: Caller, instance_id: str, request: ChangeInstance) -> InstanceView:
    """Accept a change of an instance; one that changes nothing makes no new generation.

    Raises:
        ApiError: there is no such instance, the change breaks a rule, or something we depend on is away.
    """
    sealing_key = await desk.keys.sealing_key() if request.bot_token or request.api_key else None

    async def work(session: AsyncSession) -> InstanceView:
        instance, status = await repository.instance_for(session, caller.owner_id, instance_id, lock=True)
        lifecycle.decide(Command.RECONFIGURE, instance.wanted, _phase_of(status))
        plan = _checked_change(desk, instance, request)
        before = (instance.name, instance.plan, instance.spec)
        instance.name = request.value("name", instance.name) or instance.name
        instance.plan = request.value("plan", instance.plan) or instance.plan
        spec = instance.specification
        instance.spec = respecified(
            instance,
            plan,
            desk.edge,
            channel=request.value("channel", spec.channel),
            provider=request.value("ai_provider", spec.provider),
        )
        sealed = None
        if sealing_key:
            sealed = await _reseal(session, desk, instance, request, sealing_key)
        elif before == (instance.name, instance.plan, instance.spec):
            return instance_view(instance, status, desk.edge)
        _next_generation(instance)
        return _accepted(session, desk, caller, (instance, status), type_=EventType.RECONFIGURED, sealed=sealed)

    view = await desk.database.transact(work)
    desk.wake()
    return view


async def command(desk: Desk, caller: Caller, instance_id: str, order: Command) -> InstanceView:
    """Accept a command; one that asks for what is asked for already changes nothing.

    Raises:
        ApiError: there is no such instance, the command makes no sense in its state, or the database is away.
    """

    async def work(session: AsyncSession) -> InstanceView:
        if answer := await idempotency.answer_of(session, caller.once):
            return InstanceView.model_validate(answer)
        instance, status = await repository.instance_for(session, caller.owner_id, instance_id, lock=True)
        transition = lifecycle.decide(order, instance.wanted, _phase_of(status))
        if not transition.new_generation:
            view = instance_view(instance, status, desk.edge)
            idempotency.remember(session, caller.once, view.model_dump(mode="json"))
            return view
        instance.desired_state = transition.desired_state
        _next_generation(instance)
        if order is Command.RESTART:
            _request_restart(instance, status)
        if transition.desired_state is DesiredState.RUNNING and (plan := desk.plans.get(instance.plan)):
            instance.spec = respecified(instance, plan, desk.edge)
        return _accepted(session, desk, caller, (instance, status), type_=EVENT_TYPES[order])

    view = await desk.database.transact(work)
    desk.wake()
    return view


async def show(desk: Desk, caller: Caller, instance_id: str) -> InstanceDetail:
    """Return one instance with what only its owner may see.

    Raises:
        ApiError: there is no such instance, or the database is away.
    """
    async with desk.database.read() as session:
        instance, status = await repository.instance_for(session, caller.owner_id, instance_id)
        secret = await session.get(Secret, instance_id)
    token = desk.vault.unlock(secret.gateway_token) if secret else None
    return instance_detail(instance, status, desk.edge, gateway_token=token)


async def listed(desk: Desk, caller: Caller, filters: Filters, *, limit: int, cursor: str | None) -> InstancePage:
    """Return a page of the caller's instances, newest first.

    Raises:
        DatabaseUnavailableError: the database is away.
    """
    async with desk.database.read() as session:
        known = await repository.instances_of(session, caller.owner_id, filters, limit=limit + 1, before=cursor)
    items = [instance_view(instance, status, desk.edge) for instance, status in known[:limit]]
    return InstancePage(items=items, next_cursor=items[-1].id if len(known) > limit else None)


async def ticket(desk: Desk, caller: Caller, instance_id: str, purpose: Purpose) -> Ticket:
    """Return a ticket for a running instance.

    Raises:
        ApiError: there is no such instance, it does not run, or the database is away.
    """
    async with desk.database.read() as session:
        instance, status = await repository.instance_for(session, caller.owner_id, instance_id)
    if _phase_of(status) is not Phase.RUNNING or instance.wanted is not DesiredState.RUNNING:
        raise NotRunningError(f"the instance is {_phase_of(status)} and shall be {instance.wanted}")
    return desk.tickets.issue(instance.id, instance.owner_id, purpose)


def _new_instance(desk: Desk, caller: Caller, request: CreateInstance, plan: Plan) -> Instance:
    now = datetime.now(UTC)
    instance_id = new_instance_id()
    instance = Instance(
        id=instance_id,
        owner_id=caller.owner_id,
        name=request.name,
        plan=request.plan,
        subdomain=request.subdomain or instance_id,
        desired_state=DesiredState.RUNNING,
        generation=1,
        spec={},
        secret_revision=1,
        created_at=now,
        updated_at=now,
    )
    instance.spec = new_spec(instance, request, plan, desk.edge, image=desk.image)
    return instance


def _next_generation(instance: Instance) -> None:
    instance.generation += 1
    instance.updated_at = datetime.now(UTC)


def _accepted(
    session: AsyncSession,
    desk: Desk,
    caller: Caller,
    known: repository.Known,
    *,
    type_: EventType,
    sealed: bytes | None = None,
) -> InstanceView:
    instance, status = known
    desired = desired_of(instance, actor=caller.principal.actor, request_id=caller.request_id)
    outbox.publish(session, type_, desired, sealed)
    view = instance_view(instance, status, desk.edge)
    idempotency.remember(session, caller.once, view.model_dump(mode="json"))
    return view


def _checked_change(desk: Desk, instance: Instance, request: ChangeInstance) -> Plan:
    spec = instance.specification
    before = Setup(instance.plan, spec.channel, spec.provider)
    after = Setup(
        plan=request.value("plan", before.plan) or before.plan,
        channel=request.value("channel", before.channel),
        provider=request.value("ai_provider", before.provider),
    )
    return check_change(request, before, after, desk.plans)


async def _reseal(
    session: AsyncSession, desk: Desk, instance: Instance, request: ChangeInstance, sealing_key: bytes
) -> bytes:
    secret = await session.get_one(Secret, instance.id)
    token = desk.vault.unlock(secret.gateway_token)
    if token is None:
        token = secrets.token_hex(32)
        secret.gateway_token = desk.vault.lock(token)
    clear = InstanceSecrets(gateway_token=SecretStr(token), bot_token=request.bot_token, api_key=request.api_key)
    secret.sealed = seal(clear, sealing_key)
    secret.revision = instance.secret_revision = instance.secret_revision + 1
    return secret.sealed


def _request_restart(instance: Instance, status: Status | None) -> None:
    observed = status.observation if status else None
    instance.restart_count += 1
    instance.restart_judged_start = observed.started_at if observed else None


def _phase_of(status: Status | None) -> Phase:
    return Phase(status.phase) if status else Phase.PENDING
