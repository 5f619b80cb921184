"""What an owner orders of an instance that exists: each function is one use case, one transaction.

Repeating an order is harmless: by its ``Idempotency-Key``, or because it asks for what is asked for already.
"""

import secrets

from sqlmodel.ext.asyncio.session import AsyncSession

from clawstead_api import idempotency, lifecycle, repository
from clawstead_api.admission import Share, require_room
from clawstead_api.desires import respecified, updated
from clawstead_api.desk import Caller, Desk, accepted, entrust, next_generation, phase_of
from clawstead_api.lifecycle import EVENT_TYPES, Command
from clawstead_api.requests import UpdateInstance
from clawstead_api.sealing import Part, seal
from clawstead_api.tables import Instance, Status
from clawstead_api.views import InstanceView, instance_view
from clawstead_shared.events import DesiredState


async def command(desk: Desk, caller: Caller, instance_id: str, order: Command) -> InstanceView:
    """Accept a command; one that asks for what is asked for already changes nothing.

    Raises:
        ApiError: there is no such instance, the command makes no sense in its state, the host has no room for
            what is to be started, or the database is away.
    """
    budget = await desk.capacity.budget() if order is Command.START else None

    async def work(session: AsyncSession) -> InstanceView:
        if answer := await idempotency.answer_of(session, caller.once):
            return InstanceView.model_validate(answer)
        instance, status = await repository.instance_for(session, caller.owner_id, instance_id, lock=True)
        transition = lifecycle.decide(order, instance.wanted, phase_of(status))
        if not transition.new_generation:
            view = instance_view(instance, status, desk.edge)
            idempotency.remember(session, caller.once, view.model_dump(mode="json"))
            return view
        share = Share.of(instance)
        instance.desired_state = transition.desired_state
        next_generation(instance)
        if order is Command.RESTART:
            _request_restart(instance, status)
        if transition.desired_state is DesiredState.RUNNING and (plan := desk.plans.get(instance.plan)):
            instance.specify(respecified(instance, plan, desk.edge))
        if order is Command.START and share == Share():
            await require_room(session, budget, instance, before=share)
        return await accepted(session, desk, caller, (instance, status), type_=EVENT_TYPES[order])

    view = await desk.database.transact(work)
    desk.wake()
    return view


async def update(desk: Desk, caller: Caller, instance_id: str, request: UpdateInstance) -> InstanceView:
    """Accept an update; a stopped instance gets it when it is started.

    Without an image in the request, an instance whose owner named one is asked to run what that names by now,
    every other one what the platform's default names.

    Raises:
        ApiError: there is no such instance, it is being deleted, or the database is away.
    """

    async def work(session: AsyncSession) -> InstanceView:
        if answer := await idempotency.answer_of(session, caller.once):
            return InstanceView.model_validate(answer)
        instance, status = await repository.instance_for(session, caller.owner_id, instance_id, lock=True)
        lifecycle.decide(Command.UPDATE, instance.wanted, phase_of(status))
        if "image" in request.model_fields_set:
            instance.own_image = request.image
        instance.specify(updated(instance, image=instance.own_image or desk.image, forced=request.force))
        next_generation(instance)
        return await accepted(session, desk, caller, (instance, status), type_=EVENT_TYPES[Command.UPDATE])

    view = await desk.database.transact(work)
    desk.wake()
    return view


async def delete_by_force(desk: Desk, caller: Caller, instance_id: str) -> InstanceView:
    """Rid the owner of an instance at once, whatever its state; what is left of it is removed behind the scenes.

    Only its subdomain stays reserved until it is removed, so that nobody meets it under another's name.

    Raises:
        ApiError: there is no such instance, or the database is away.
    """

    async def work(session: AsyncSession) -> InstanceView:
        instance, status = await repository.instance_for(session, caller.owner_id, instance_id, lock=True)
        instance.desired_state = DesiredState.DELETED
        next_generation(instance)
        instance.hidden_at = instance.updated_at
        return await accepted(session, desk, caller, (instance, status), type_=EVENT_TYPES[Command.DELETE])

    view = await desk.database.transact(work)
    desk.wake()
    return view


async def rotate_token(desk: Desk, caller: Caller, instance_id: str) -> InstanceView:
    """Accept a new gateway token; the one before works until the instance has started with the new one.

    Raises:
        ApiError: there is no such instance, it is being deleted, or something we depend on is away.
    """
    sealing_key = await desk.keys.sealing_key()
    token = secrets.token_hex(32)

    async def work(session: AsyncSession) -> InstanceView:
        if answer := await idempotency.answer_of(session, caller.once):
            return InstanceView.model_validate(answer)
        instance, status = await repository.instance_for(session, caller.owner_id, instance_id, lock=True)
        lifecycle.decide(Command.ROTATE_TOKEN, instance.wanted, phase_of(status))
        changes: dict[Part, str | None] = {Part.GATEWAY_TOKEN: seal(token, sealing_key)}
        sealed = await entrust(session, instance, changes, locked=desk.vault.lock(token))
        next_generation(instance)
        type_ = EVENT_TYPES[Command.ROTATE_TOKEN]
        return await accepted(session, desk, caller, (instance, status), type_=type_, sealed=sealed)

    view = await desk.database.transact(work)
    desk.wake()
    return view


def _request_restart(instance: Instance, status: Status | None) -> None:
    observed = status.observation if status else None
    instance.restart_count += 1
    instance.restart_judged_start = observed.started_at if observed else None
