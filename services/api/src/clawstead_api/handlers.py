"""What the API does for its clients: each function is one use case, and one transaction at most.

A change writes the instance, the outbox rows that tell the bus, and the stored answer together; the relay is
woken once that is committed. Nothing here waits for the bus while a transaction is open.
"""

import secrets
from datetime import UTC, datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from clawstead_api import idempotency, lifecycle, repository
from clawstead_api.admission import Share, require_room
from clawstead_api.desires import new_spec, respecified
from clawstead_api.desk import Caller, Desk, accepted, entrust, next_generation, phase_of
from clawstead_api.errors import NotRunningError, SubdomainTakenError
from clawstead_api.lifecycle import Command
from clawstead_api.plans import Plan
from clawstead_api.repository import Filters
from clawstead_api.requests import ChangeInstance, CreateInstance, Setup, check_change, check_new
from clawstead_api.sealing import Part, deposited, packed, seal
from clawstead_api.tables import Instance, Secret
from clawstead_api.tickets import Ticket
from clawstead_api.views import InstanceDetail, InstancePage, InstanceView, instance_detail, instance_view
from clawstead_shared.events import DesiredState, EventType, InstanceSpec, Phase
from clawstead_shared.ids import new_instance_id
from clawstead_shared.tickets import Purpose


async def create(desk: Desk, caller: Caller, request: CreateInstance) -> InstanceView:
    """Accept a new instance.

    Raises:
        ApiError: it breaks a rule, its subdomain is taken, the host is full, or something we depend on is away.
    """
    plan = check_new(request, desk.plans)
    token = secrets.token_hex(32)
    sealed = _sealed(token, request, await desk.keys.sealing_key())
    budget = await desk.capacity.budget()

    async def work(session: AsyncSession) -> InstanceView:
        if answer := await idempotency.answer_of(session, caller.once):
            return InstanceView.model_validate(answer)
        if request.subdomain and (holder := await repository.subdomain_holder(session, request.subdomain)):
            raise SubdomainTakenError(leaving=holder.removed_at is not None)
        instance = _new_instance(desk, caller, request, plan)
        await require_room(session, budget, instance, before=None)
        session.add(instance)
        await session.flush()
        locked = desk.vault.lock(token)
        session.add(
            Secret(
                instance_id=instance.id,
                owner_id=instance.owner_id,
                revision=instance.secret_revision,
                sealed=sealed,
                gateway_token=locked,
            )
        )
        deposit = deposited(sealed, locked)
        return await accepted(session, desk, caller, (instance, None), type_=EventType.CREATED, sealed=deposit)

    view = await desk.database.transact(work)
    desk.wake()
    return view


async def change(desk: Desk, caller: Caller, instance_id: str, request: ChangeInstance) -> InstanceView:
    """Accept a change of an instance; one that changes nothing makes no new generation.

    Raises:
        ApiError: there is no such instance, the change breaks a rule, the host has no room for a larger plan, or
            something we depend on is away.
    """
    sealing_key = await desk.keys.sealing_key() if request.bot_token or request.api_key else None
    budget = await desk.capacity.budget() if request.plan else None

    async def work(session: AsyncSession) -> InstanceView:
        instance, status = await repository.instance_for(session, caller.owner_id, instance_id, lock=True)
        lifecycle.decide(Command.RECONFIGURE, instance.wanted, phase_of(status))
        plan = _checked_change(desk, instance, request)
        before, share = (instance.name, instance.plan, instance.spec), Share.of(instance)
        instance.name = request.value("name", instance.name) or instance.name
        instance.plan = request.value("plan", instance.plan) or instance.plan
        old = instance.specification
        channel = request.value("channel", old.channel)
        provider = request.value("ai_provider", old.provider)
        instance.specify(respecified(instance, plan, desk.edge, channel=channel, provider=provider))
        parts = _changed_parts(old, instance.specification, request, sealing_key)
        if not parts and before == (instance.name, instance.plan, instance.spec):
            return instance_view(instance, status, desk.edge)
        await require_room(session, budget, instance, before=share)
        sealed = await entrust(session, instance, parts) if parts else None
        next_generation(instance)
        return await accepted(session, desk, caller, (instance, status), type_=EventType.RECONFIGURED, sealed=sealed)

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
    if phase_of(status) is not Phase.RUNNING or instance.wanted is not DesiredState.RUNNING:
        raise NotRunningError(f"the instance is {phase_of(status)} and shall be {instance.wanted}")
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
        own_image=request.image,
        cpus=plan.cpus,
        memory_bytes=plan.memory_bytes,
        secret_revision=1,
        created_at=now,
        updated_at=now,
    )
    instance.specify(new_spec(instance, request, plan, desk.edge, image=desk.image))
    return instance


def _checked_change(desk: Desk, instance: Instance, request: ChangeInstance) -> Plan:
    spec = instance.specification
    before = Setup(instance.plan, spec.channel, spec.provider)
    after = Setup(
        plan=request.value("plan", before.plan) or before.plan,
        channel=request.value("channel", before.channel),
        provider=request.value("ai_provider", before.provider),
    )
    return check_change(request, before, after, desk.plans)


def _sealed(token: str, request: CreateInstance, sealing_key: bytes) -> bytes:
    clear = {Part.GATEWAY_TOKEN: token}
    if request.bot_token:
        clear[Part.BOT_TOKEN] = request.bot_token.get_secret_value()
    if request.api_key:
        clear[Part.API_KEY] = request.api_key.get_secret_value()
    return packed({part: seal(secret, sealing_key) for part, secret in clear.items()})


def _changed_parts(
    old: InstanceSpec, new: InstanceSpec, request: ChangeInstance, sealing_key: bytes | None
) -> dict[Part, str | None]:
    """Return what a change does to the sealed secrets: a secret goes with the channel or provider it is for."""
    changes: dict[Part, str | None] = {}
    for part, secret, before, after in (
        (Part.BOT_TOKEN, request.bot_token, old.channel, new.channel),
        (Part.API_KEY, request.api_key, old.provider, new.provider),
    ):
        if secret and sealing_key:
            changes[part] = seal(secret.get_secret_value(), sealing_key)
        elif before and not after:
            changes[part] = None
    return changes
