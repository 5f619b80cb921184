"""The steps towards a running instance. Each can be repeated, and cut off anywhere.

Each returns whether to look again at once, and raises ``ProvisioningError`` when it cannot be done.
"""

import structlog

from clawstead_provisioner.boot_watch import Boot, Milestones
from clawstead_provisioner.crashpoints import Place, crashpoint
from clawstead_provisioner.errors import ImageMissingError, PortTakenError
from clawstead_provisioner.ports import Container, Status
from clawstead_provisioner.work import Work, all_of
from clawstead_shared.events import ExitCause, Phase, Progress, Reason

log = structlog.get_logger()

_SECOND_LOOK_SECONDS = 15.0
"""A gateway may be killed for its memory seconds after it first said that all is well."""
_GRACE_FACTOR = 5


async def create(work: Work) -> bool:
    """Make directories, files, network and container."""
    tools = work.tools
    port = tools.ports.allocate(work.instance_id)
    try:
        blueprint = await work.draw(port)
        opened = await tools.storage.open(work.instance_id, blueprint.profile)
        crashpoint(Place.DIRECTORIES_MADE)
        work.made_storage = work.made_storage or not opened.existed
        files = blueprint.files(opened.files)
        work.memory.count_restarts(work.unasked)
        made, *_ = await all_of(
            tools.engine.create(blueprint.spec),
            tools.storage.write(work.instance_id, files, blueprint.profile),
            _say_provisioning(work, port),
        )
    except PortTakenError:
        await _move_away(work)
        return True
    except ImageMissingError:
        tools.pulls.request(work.effective.spec.image, work.instance_id, work.waiter)
        await tools.engine.remove(work.instance_id)
        if work.made_storage:
            await tools.storage.remove(work.instance_id)
        progress = tools.pulls.progress(work.effective.spec.image, work.instance_id)
        await work.say(Phase.PROVISIONING, port=port, progress=progress)
        return False
    work.container = made
    work.prepared = made.id
    _note_adjusted(work, made)
    return True


async def replace(work: Work) -> bool:
    """Remove a container that is not the one wanted; its data stays."""
    await work.tools.engine.remove(work.instance_id)
    work.container = None
    return True


async def start(work: Work) -> bool:
    """Start the container, with its files as they should be, when it may: others may be starting."""
    container, memory, tools = work.present, work.memory, work.tools
    if not tools.slots.take(work.instance_id, work.look_again):
        return await _wait_for_slot(work)
    prepared = work.prepared == container.id or memory.prepared == (container.id, work.desired)
    memory.prepared = None
    if not prepared:
        blueprint = await work.draw(container.port)
        opened = await tools.storage.open(work.instance_id, blueprint.profile)
        await tools.storage.write(work.instance_id, blueprint.files(opened.files), blueprint.profile)
        if container.status is Status.CREATED:
            # Whoever made it may have died before its network was there, which is made at the same time.
            await tools.engine.create(blueprint.spec)
        _note_adjusted(work, container)
    cause = work.exit_cause if work.unasked else None
    memory.count_restarts(work.unasked)
    memory.begin_start()
    try:
        # Said at the same time, so that the edge prepares the route while the engine starts the container.
        await all_of(
            tools.engine.start(container.id),
            work.say(Phase.STARTING, unasked=work.unasked, reason=_why(cause), exit_cause=cause),
        )
    except PortTakenError:
        await _move_away(work)
        return True
    memory.succeeded()
    _watch(work)
    return False


async def _wait_for_slot(work: Work) -> bool:
    work.queued = True
    memory = work.memory
    if work.prepared is not None:
        # A container that never started has changed nothing of its own by the time it may.
        memory.prepared = (work.prepared, work.desired)
    memory.count_restarts(work.unasked)
    last = memory.last
    phase = Phase.UPDATING if last is not None and last.phase is Phase.UPDATING else Phase.PROVISIONING
    progress = Progress(step="waiting for other starts")
    if last is not None and (last.reason, last.generation) == (Reason.DEADLINE_EXCEEDED, work.desired.generation):
        return False
    await work.say(phase, unasked=work.unasked, exit_cause=work.exit_cause if work.unasked else None, progress=progress)
    memory.end_noted()
    return False


async def await_ready(work: Work) -> bool:
    """Say that the running container is starting, and wait for its gateway."""
    memory, last = work.memory, work.memory.last
    cause = memory.exit if work.unasked else None
    reason = _why(cause)
    if not work.unasked and last is not None and last.phase is Phase.STARTING:
        reason = last.reason
    await work.say(Phase.STARTING, started=True, unasked=work.unasked, reason=reason, exit_cause=cause)
    if work.unasked:
        memory.count_restarts(work.unasked)
        memory.end_noted()
    if work.unasked or not work.tools.boots.watching(work.instance_id):
        _watch(work)
    return False


async def adjust(work: Work) -> bool:
    """Give a running container what it can be given without a restart: its config and its limits."""
    container, tools = work.present, work.tools
    blueprint = await work.draw(container.port)
    profile = blueprint.profile
    opened = await tools.storage.open(work.instance_id, profile)
    await tools.storage.write(work.instance_id, blueprint.files(opened.files), profile, unless_changed=opened.files)
    if container.resources != blueprint.spec.resources:
        await tools.engine.resize(container.id, blueprint.spec.resources)
        work.prepared = None
    work.memory.adjusted = (container.id, work.desired.generation)
    work.memory.succeeded()
    return True


def _note_adjusted(work: Work, container: Container) -> None:
    # One that was made earlier may have the limits of then.
    same = container.resources == work.tools.blueprints.resources(work.desired)
    work.memory.adjusted = (container.id, work.desired.generation) if same else None


async def report_running(work: Work) -> bool:
    """Say that the gateway serves."""
    last = work.memory.last
    crashpoint(Place.GATEWAY_READY)
    await work.say(Phase.RUNNING, started=True, progress=work.fetching)
    if not work.images.pending:
        work.memory.succeeded()
    if last is None or last.phase is not Phase.RUNNING:
        work.tools.queue.submit_after(_SECOND_LOOK_SECONDS, work.instance_id)
    return False


async def report_overdue(work: Work) -> bool:
    """Say that the start takes too long; it goes on."""
    message = "the gateway has not said that it has started; it is still given time"
    await work.say(Phase.FAILED, started=True, reason=Reason.START_TIMEOUT, message=message)
    return False


async def _say_provisioning(work: Work, port: int) -> None:
    last = work.memory.last
    if last is None or last.phase is not Phase.UPDATING:
        await work.say(Phase.PROVISIONING, port=port, unasked=work.unasked, exit_cause=work.memory.exit)


async def _move_away(work: Work) -> None:
    log.warning("port taken by something else", instance_id=work.instance_id)
    crashpoint(Place.PORT_REFUSED)
    await work.tools.engine.remove(work.instance_id)
    work.tools.ports.bar(work.instance_id)
    work.container = work.prepared = None


def _why(cause: ExitCause | None) -> Reason | None:
    return Reason.OUT_OF_MEMORY if cause is not None and cause.oom_killed else None


def _watch(work: Work) -> None:
    container, memory = work.present, work.memory

    def ready() -> None:
        memory.ready = container.id
        # At once, not when that was told: who waits for the slot may start meanwhile.
        work.tools.slots.release(work.instance_id)
        work.look_again()

    def overdue() -> None:
        memory.overdue = container.id
        work.look_again()

    grace = work.desired.spec.limits.boot_grace_seconds
    boot = Boot(
        work.instance_id,
        container.port,
        work.profile.startup_path,
        timeout_seconds=max(_GRACE_FACTOR * grace, work.tools.patience.start_seconds),
        grace_seconds=grace,
    )
    work.tools.boots.watch(boot, Milestones(ready, work.look_again, overdue))
