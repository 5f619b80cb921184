"""What there is of one instance, gathered for the decision about its next step; changes nothing but the memory."""

import asyncio

from clawstead_provisioner.adjustments import adjusted, outgrown
from clawstead_provisioner.decide import Situation
from clawstead_provisioner.errors import ProvisioningError
from clawstead_provisioner.ports import Container, Status
from clawstead_provisioner.versions import choose
from clawstead_provisioner.work import Work
from clawstead_shared.events import Desired, DesiredState


async def look(work: Work) -> Situation:
    """Return what the next step depends on.

    Raises:
        TransientError: the bus did not answer.
        ProvisioningError: the engine did not answer, or what is wanted cannot be had.
    """
    tools, memory, desired = work.tools, work.memory, work.desired
    if work.prepared is None or work.container is None:
        work.container = await _found(work)
    container = work.container
    if not memory.trial_known and not work.forced:
        memory.trial = await tools.snapshots.read(work.instance_id)
        memory.trial_known = True
    work.images = choose(desired, memory.last, container, memory.trial, memory.resolved)
    work.rejected = work.rejected_now()
    await _recognise(work)
    return Situation(
        desired=desired,
        container=container,
        last=memory.last,
        stale=await _stale(work, work.effective, container),
        stopping=memory.stopping is not None,
        ready=container is not None and memory.ready == container.id,
        late=tools.patience.deadlines.passed(memory),
        adjusted=adjusted(memory, desired, container),
        outgrown=container is not None and outgrown(container, tools.blueprints.resources(desired), desired),
        overdue=container is not None and memory.overdue == container.id,
        held=memory.held(desired.generation),
        exit=memory.exit,
        restarts=memory.restarts_within_window(),
        images=work.images,
        fetching=work.fetching is not None,
        trial=memory.trial,
        proven=container is not None and memory.proven(container, tools.patience.probation_seconds),
    )


async def _recognise(work: Work) -> None:
    # One that runs although nothing was ever said of it: the log was lost. It serves already, so its route must not
    # be closed for a start that there is not.
    container, memory = work.container, work.memory
    unheard = memory.last is None and memory.ready is None and memory.exit is None
    if not unheard or container is None or container.status is not Status.RUNNING:
        return
    if await work.tools.gateway.answers(container.port, work.profile.startup_path):
        memory.ready = container.id


async def _found(work: Work) -> Container | None:
    inspecting = work.tools.engine.inspect(work.instance_id)
    if not work.forced:
        return await inspecting
    try:
        async with asyncio.timeout(work.tools.patience.force_seconds):
            return await inspecting
    except (ProvisioningError, TimeoutError):
        return None  # what cannot be seen is removed all the same


async def _stale(work: Work, desired: Desired, container: Container | None) -> bool:
    if container is None or desired.desired_state is not DesiredState.RUNNING:
        return False
    if not work.tools.ports.covers(container.port):
        return True
    wanted = await work.tools.blueprints.fingerprint(desired, container.port, container.labels)
    return wanted is not None and wanted != container.fingerprint
