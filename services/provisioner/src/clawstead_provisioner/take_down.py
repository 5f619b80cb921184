"""The steps away from a running instance. Each can be repeated, and cut off anywhere.

Each returns whether to look again at once, and raises ``ProvisioningError`` when it cannot be done.
"""

import asyncio
from datetime import timedelta
from functools import partial

import structlog

from clawstead_provisioner.crashpoints import Place, crashpoint
from clawstead_provisioner.errors import EngineUnavailableError, ProvisioningError
from clawstead_provisioner.gateway_log import complaint
from clawstead_provisioner.memory import RESTARTS_ALLOWED
from clawstead_provisioner.ports import Container, Status
from clawstead_provisioner.trial import check_room
from clawstead_provisioner.work import Work
from clawstead_shared.events import Observed, Phase, Reason

log = structlog.get_logger()

_STOP = "stop"
_STOP_RETRY_SECONDS = 5.0
_STOP_LOOK = timedelta(seconds=1)
_OUTAGE_PAUSE_SECONDS = 15.0
_LOG_LINES = 60
_CANNOT_EXECUTE = frozenset({126, 127})
"""How a container's init ends when the command is missing, or made for another machine."""
_UNTOUCHED_BY_OUTAGE = frozenset({Phase.STARTING, Phase.RUNNING, Phase.STOPPING, Phase.STOPPED, Phase.DELETING})

_SERVING = frozenset({Phase.STARTING, Phase.RUNNING})


async def begin_stop(work: Work) -> bool:
    """Ask the container to end; that is waited for in the background."""
    return await _begin_stop(work, Phase.STOPPING)


async def _begin_stop(work: Work, phase: Phase) -> bool:
    # Said first, so that the edge sends nobody any more.
    container = work.present
    work.tools.boots.cancel(work.instance_id)
    if not _said_late(work):
        await work.say(phase)
    work.memory.stopping = container.id
    work.tools.background.start(_STOP, work.instance_id, _stop(work, container))
    return False


async def begin_restart(work: Work) -> bool:
    """Stop a container that shall start again, after trying what could keep it from that."""
    blueprint = await work.draw(work.present.port)
    opened = await work.tools.storage.open(work.instance_id, blueprint.profile)
    blueprint.files(opened.files)
    return await _begin_stop(work, Phase.STOPPING)


async def begin_update(work: Work) -> bool:
    """Stop a container that another shall replace, after trying everything that could fail."""
    tools = work.tools
    blueprint = await work.draw(tools.ports.allocate(work.instance_id))
    opened = await tools.storage.open(work.instance_id, blueprint.profile)
    blueprint.files(opened.files)
    if not blueprint.image_present:
        tools.pulls.request(work.effective.spec.image, work.instance_id, work.waiter)
        return False
    if work.images.swap and not await check_room(work):
        return True
    return await _begin_stop(work, Phase.UPDATING)


async def report_stopped(work: Work) -> bool:
    """Say that the instance is stopped, as it should be."""
    work.memory.end_noted()
    await work.say(Phase.STOPPED, exit_cause=work.exit_cause)
    return False


async def remove(work: Work) -> bool:
    """Remove everything of the instance, then say so."""
    tools, memory, container = work.tools, work.memory, work.container
    tools.boots.cancel(work.instance_id)
    if work.forced:
        return await _remove_by_force(work)
    known = memory.last is not None and memory.last.phase is not Phase.REMOVED
    if (known or container is not None) and not _said_late(work):
        await work.say(Phase.DELETING)
    crashpoint(Place.DELETE_SAID)
    async with tools.queue.aside():
        # A stop under way has asked it already; removing ends that wait.
        if container is not None and container.active and memory.stopping is None:
            await tools.engine.stop(container.id, tools.patience.delete)
        crashpoint(Place.DELETE_ENDED)
        await tools.engine.remove(work.instance_id)
    await tools.storage.remove(work.instance_id)
    crashpoint(Place.DIRECTORIES_REMOVED)
    await tools.departures.leave(work.instance_id)
    tools.blueprints.forget(work.instance_id)
    work.container = None
    await work.say(Phase.REMOVED)
    return False


async def _remove_by_force(work: Work) -> bool:
    tools, last, left = work.tools, work.memory.last, []
    if last is None or last.phase not in {Phase.DELETING, Phase.REMOVED}:
        await work.say(Phase.DELETING)
    # No grace: removing kills.
    parts = {"container and network": tools.engine.remove, "directories": tools.storage.remove}
    for name, part in parts.items():
        try:
            async with asyncio.timeout(tools.patience.force_seconds):
                await part(work.instance_id)
        except ProvisioningError as error:
            left.append(f"{name}: {error.message}")
        except TimeoutError:
            left.append(f"{name}: no answer within {tools.patience.force_seconds:.0f} s")
    tools.blueprints.forget(work.instance_id)
    work.container = None
    if left:
        log.warning("left over after a forced delete", instance_id=work.instance_id, left=left)
        message = f"not everything could be removed, which is tried again: {'; '.join(left)}"
        await work.say(Phase.REMOVED, reason=Reason.LEFTOVERS, message=message)
    else:
        await tools.departures.leave(work.instance_id)
        await work.say(Phase.REMOVED)
    return False


async def report_late(work: Work) -> bool:
    """Say that a phase has lasted too long; what it waits for is still tried, with pauses."""
    memory = work.memory
    if memory.last is None:
        raise LookupError("this step is about what was said last")
    await _say_late(work, memory.last)
    work.queued = work.tools.slots.waits(work.instance_id)
    if not work.queued:
        work.tools.queue.submit_after(memory.hold(work.desired.generation), work.instance_id)
    return False


async def _say_late(work: Work, last: Observed, detail: str = "") -> None:
    message = work.tools.patience.deadlines.message(last, detail)
    await work.say(Phase.FAILED, reason=Reason.DEADLINE_EXCEEDED, message=message)


def _said_late(work: Work) -> bool:
    last = work.memory.last
    return (
        last is not None
        and (last.phase, last.reason) == (Phase.FAILED, Reason.DEADLINE_EXCEEDED)
        and last.generation == work.desired.generation
    )


async def give_up_config(work: Work) -> bool:
    """Stop a container whose gateway refuses its config, and say how it put that."""
    return await _give_up(work, Reason.CONFIG_INVALID)


async def give_up_crash_loop(work: Work) -> bool:
    """Stop a container that ends again and again, and say how."""
    return await _give_up(work, Reason.CRASH_LOOP)


async def _give_up(work: Work, reason: Reason) -> bool:
    tools, container, cause = work.tools, work.container, work.exit_cause
    tools.boots.cancel(work.instance_id)
    said = ""
    if container is not None:
        async with tools.queue.aside():
            await tools.engine.stop(container.id, tools.patience.give_up)
        output = await tools.engine.logs(container.id, _LOG_LINES)
        said = complaint(await tools.blueprints.masked(work.desired, output))
    if reason is Reason.CONFIG_INVALID:
        message = f"the gateway refuses its config: {said}"
    elif cause is not None and cause.code in _CANNOT_EXECUTE:
        reason = Reason.IMAGE_UNUSABLE
        message = f"the image cannot run the gateway, choose one made for it and for this machine: {said}"
    else:
        code = cause.code if cause else "unknown"
        how = "for lack of memory" if cause and cause.oom_killed else f"with exit code {code}"
        message = f"ended more than {RESTARTS_ALLOWED} times in ten minutes, last {how}: {said}"
    await work.say(Phase.FAILED, reason=reason, message=message, exit_cause=cause)
    work.memory.end_noted()
    return False


async def fail(work: Work, error: ProvisioningError) -> None:
    """Say why a generation cannot be reached, clean up what is half made, and try again later.

    What runs already, runs on: then only the reason is told.
    """
    memory, container, last = work.memory, work.container, work.memory.last
    log.warning("instance failed", instance_id=work.instance_id, reason=error.reason, detail=error.message)
    outage = isinstance(error, EngineUnavailableError)
    # Of an outage nothing is held back: when the engine returns, everything is looked at at once.
    delay = _OUTAGE_PAUSE_SECONDS if outage else memory.hold(work.desired.generation)
    if not error.final:
        work.tools.queue.submit_after(delay, work.instance_id)
    if last is not None and work.tools.patience.deadlines.passed(memory):
        await _say_late(work, last, error.message)
    elif _said_late(work):
        return
    elif outage:
        await _say_outage(work, error)
    elif container is not None and container.active and (phase := _serving(work, container)) is not None:
        await work.say(phase, started=True, reason=error.reason, message=error.message)
    else:
        await _clean_up(work)
        await work.say(Phase.FAILED, reason=error.reason, message=error.message)


async def _say_outage(work: Work, error: ProvisioningError) -> None:
    memory, last = work.memory, work.memory.last
    # An outage says nothing about a container that may run very well, unless its end was told.
    if last is None or last.phase not in _UNTOUCHED_BY_OUTAGE or (memory.exit and last.phase in _SERVING):
        await work.say(Phase.FAILED, reason=error.reason, message=error.message, exit_cause=memory.exit)


def _serving(work: Work, container: Container) -> Phase | None:
    last = work.memory.last
    if work.memory.ready == container.id:
        return Phase.RUNNING
    return last.phase if last is not None and last.phase in _SERVING else None


async def _clean_up(work: Work) -> None:
    tools = work.tools
    try:
        found = await tools.engine.inspect(work.instance_id)
        if found is None or found.status is Status.CREATED:
            await tools.engine.remove(work.instance_id)
            found = None
        work.container = found
        if work.made_storage:
            await tools.storage.remove(work.instance_id)
    except ProvisioningError as error:
        log.warning("not cleaned up", instance_id=work.instance_id, error=error.message)


async def _stop(work: Work, container: Container) -> None:
    tools, pause = work.tools, _STOP_RETRY_SECONDS
    try:
        await _end(work, container)
        crashpoint(Place.CONTAINER_STOPPED)
        pause = 0
    except ProvisioningError as error:
        log.warning("stop failed", instance_id=container.instance_id, error=error.message)
        if _said_late(work):
            pause = work.memory.hold(work.desired.generation)
    finally:
        work.memory.stopping = None
        tools.queue.submit_after(pause, container.instance_id)


async def _end(work: Work, container: Container) -> None:
    # A gateway that does not answer, or no longer, has no turn to finish. One whose channel could not reach its
    # network when it started closes its server at once and then hangs until its own budget is spent.
    engine, patience = work.tools.engine, work.tools.patience
    answers = partial(work.tools.gateway.answers, container.port, work.profile.health_path)
    if not await answers():
        await engine.stop(container.id, patience.unresponsive_stop)
        return
    stopping = asyncio.ensure_future(engine.stop(container.id, patience.stop))
    try:
        silent = timedelta(0)
        while not (await asyncio.wait({stopping}, timeout=_STOP_LOOK.total_seconds()))[0]:
            silent = timedelta(0) if await answers() else silent + _STOP_LOOK
            if silent >= patience.unresponsive_stop:
                log.warning("gateway hangs after closing its server, killed", instance_id=container.instance_id)
                await engine.stop(container.id, timedelta(0))
        await stopping
    finally:
        stopping.cancel()
