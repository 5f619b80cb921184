"""The steps of an update: fetch, keep the state, try, then confirm or go back.

    fetch ─> (stop) ─> keep_state ─> (replace, create, start) ─> report_on_trial ─> confirm
      │                   │                        └─> reject ─> roll_back ─> (create, start) ─> finish_rollback
      └─> refuse <────────┘

Each can be repeated, and cut off anywhere. Those in brackets are the steps of any other change. What a crash must
not lose is in the snapshot's record, in the container's labels, and in what was said last.
Each returns whether to look again at once.
"""

import structlog

from clawstead_provisioner.crashpoints import Place, crashpoint
from clawstead_provisioner.errors import ProvisioningError
from clawstead_provisioner.gateway_log import complaint
from clawstead_provisioner.pulls import Waiter, only_local
from clawstead_provisioner.versions import Trial, same, wanted_image
from clawstead_provisioner.work import Work
from clawstead_shared.events import ImageVersion, Phase, Progress, Reason, RejectedImage

log = structlog.get_logger()

_LOG_LINES = 60
_FAULTS_OF_THE_IMAGE = frozenset({Reason.IMAGE_UNUSABLE, Reason.IMAGE_MISSING, Reason.CONFIG_INVALID})
_ON_TRIAL = Progress(step="on probation after the update")


async def fetch(work: Work) -> bool:
    """Learn what the wanted image is, from its registry if it has one; the old container runs on."""
    wanted, tools, memory = wanted_image(work.desired), work.tools, work.memory
    found = await tools.images.find(wanted.reference)
    if found is not None and (found.built_here or only_local(wanted.reference)):
        memory.resolved = wanted.model_copy(update={"digest": found.digest})
        return True

    def pulled(digest: str) -> None:
        crashpoint(Place.IMAGE_RESOLVED)
        memory.resolved = wanted.model_copy(update={"digest": digest})

    tools.pulls.request(wanted.reference, work.instance_id, Waiter(pulled, work.look_again))
    return True


async def refuse(work: Work) -> bool:
    """Say that the wanted image is the one that this instance went back from before."""
    known, resolved = work.rejected, work.memory.resolved
    before = known.message if known is not None else ""
    await _refuse(work, f"not tried again, force it to do so: {before}", resolved.digest if resolved else None)
    return True


async def keep_state(work: Work) -> bool:
    """Keep the state of the stopped instance, so that there is a way back from the new image."""
    good, candidate, trial = work.images.current, work.images.target, work.memory.trial
    if good is None or candidate is None:
        raise LookupError("this step needs an image to change from and one to change to")
    try:
        if trial is not None and trial.good.digest != candidate.digest:
            # Another image while one was on trial: the way back leads to the last confirmed one.
            await _note(work, trial.model_copy(update={"candidate": candidate}))
        else:
            new = Trial(good=good, candidate=candidate)
            await work.tools.snapshots.take(work.instance_id, new)
            crashpoint(Place.STATE_KEPT)
            work.memory.trial = new
    except ProvisioningError as error:
        log.warning("state not kept", instance_id=work.instance_id, error=error.message)
        await _refuse(work, error.message, None)
    return True


async def check_room(work: Work) -> bool:
    """Say whether the state can be kept; if not, the update is refused while the old container runs on."""
    try:
        await work.tools.snapshots.check_room(work.instance_id)
    except ProvisioningError as error:
        await _refuse(work, error.message, None)
        return False
    return True


async def report_on_trial(work: Work) -> bool:
    """Say that the new image serves, and wait whether it goes on doing so."""
    container, memory = work.present, work.memory
    left = memory.serve_on_trial(container, work.tools.patience.probation_seconds)
    await work.say(Phase.RUNNING, started=True, progress=_ON_TRIAL)
    work.tools.queue.submit_after(left, work.instance_id)
    return False


async def confirm(work: Work) -> bool:
    """End the trial: what serves now is good, and the state from before is no longer needed."""
    await work.tools.snapshots.drop(work.instance_id)
    crashpoint(Place.UPDATE_CONFIRMED)
    work.memory.trial = work.rejected = None
    await work.say(Phase.RUNNING, started=True)
    return True


def blames_image(work: Work, error: ProvisioningError) -> bool:
    """Say whether what went wrong is a reason to go back to the image from before."""
    trial, target = work.memory.trial, work.images.target
    on_trial = trial is not None and trial.failure is None and target is not None and same(trial.candidate, target)
    stopped = work.container is None or not work.container.active
    return on_trial and stopped and error.reason in _FAULTS_OF_THE_IMAGE


async def reject(work: Work) -> bool:
    """Give the candidate up for how it behaved."""
    tools, container, cause = work.tools, work.container, work.exit_cause
    if cause is None:
        how = "it did not start in time"
    elif cause.oom_killed:
        how = "it ended for lack of memory"
    else:
        how = f"it ended with exit code {cause.code}"
    if container is not None:
        output = await tools.engine.logs(container.id, _LOG_LINES)
        how = f"{how}: {complaint(await tools.blueprints.masked(work.desired, output))}"
    return await reject_for(work, how)


async def reject_for(work: Work, how: str) -> bool:
    """Give the candidate up, say why, and begin to go back."""
    trial = work.memory.trial
    if trial is None:
        return True
    tools, cause = work.tools, work.exit_cause
    tools.boots.cancel(work.instance_id)
    message = f"{trial.candidate.reference} was given up, back to {trial.good.reference}: {how}"
    log.warning("update rolled back", instance_id=work.instance_id, detail=message)
    # Written before it is said: whoever goes on after a crash here must not try the image again.
    await _note(work, trial.model_copy(update={"failure": message}))
    crashpoint(Place.CANDIDATE_GIVEN_UP)
    work.rejected = work.rejected_now()
    work.memory.end_noted()
    await work.say(Phase.UPDATING, unasked=0, reason=Reason.UPDATE_ROLLED_BACK, message=message, exit_cause=cause)
    return True


async def roll_back(work: Work) -> bool:
    """Remove the candidate's container and put the state from before back."""
    tools, memory = work.tools, work.memory
    if memory.trial is None:
        return True
    message = memory.trial.failure
    await work.say(Phase.UPDATING, reason=Reason.UPDATE_ROLLED_BACK, message=message)
    if work.container is not None and work.container.active:
        async with tools.queue.aside():
            await tools.engine.stop(work.container.id, tools.patience.give_up)
    await tools.snapshots.restore(work.instance_id)
    crashpoint(Place.STATE_RESTORED)
    memory.trial = memory.trial.model_copy(update={"restored": True})
    await tools.engine.remove(work.instance_id)
    work.container = None
    return True


async def finish_rollback(work: Work) -> bool:
    """End the trial: the image from before runs again, with its state."""
    said = work.memory.last
    if said is None or said.rejected != work.rejected:
        await work.say(Phase.STARTING, started=True)
    await work.tools.snapshots.drop(work.instance_id)
    crashpoint(Place.WAY_BACK_ENDED)
    work.memory.trial = None
    return True


async def _note(work: Work, trial: Trial) -> None:
    await work.tools.snapshots.note(work.instance_id, trial)
    work.memory.trial = trial


async def _refuse(work: Work, message: str, digest: str | None) -> None:
    wanted: ImageVersion = wanted_image(work.desired)
    work.rejected = RejectedImage(
        reference=wanted.reference, revision=wanted.revision, digest=digest, message=f"{wanted.reference}: {message}"
    )
    work.memory.resolved = None
    last, container = work.memory.last, work.container
    serving = container is not None and container.active and last is not None
    if serving and last is not None and last.phase in {Phase.STARTING, Phase.RUNNING}:
        await work.say(last.phase, started=True, reason=Reason.UPDATE_ROLLED_BACK, message=work.rejected.message)
    else:
        await work.say(Phase.UPDATING, reason=Reason.UPDATE_ROLLED_BACK, message=work.rejected.message)
