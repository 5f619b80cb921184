"""What to do next for one instance: pure, from what is wanted, what is, and what was said last.

The reconciler looks, takes one step, and looks again, until there is nothing left to do. So every row of this
table also is the way on after a crash in the middle of any other.
"""

from dataclasses import dataclass
from enum import StrEnum

from clawstead_provisioner.errors import FINAL_REASONS
from clawstead_provisioner.memory import RESTARTS_ALLOWED
from clawstead_provisioner.ports import Container, Status
from clawstead_provisioner.versions import NO_CHOICE, Choice, Trial, same
from clawstead_shared.events import Desired, DesiredState, ExitCause, Observed, Phase

CONFIG_EXIT_CODE = 78
"""The gateway's "my config is invalid": starting it again cannot help."""


class Step(StrEnum):
    """One thing to do."""

    NOTHING = "nothing"
    REMOVE = "remove"
    STOP = "stop"
    STOP_TO_RESTART = "stop_to_restart"
    STOP_TO_UPDATE = "stop_to_update"
    REPORT_STOPPED = "report_stopped"
    CREATE = "create"
    REPLACE = "replace"
    START = "start"
    AWAIT_READY = "await_ready"
    ADJUST = "adjust"
    REPORT_RUNNING = "report_running"
    REPORT_OVERDUE = "report_overdue"
    REPORT_LATE = "report_late"
    GIVE_UP_CONFIG = "give_up_config"
    GIVE_UP_CRASH_LOOP = "give_up_crash_loop"
    FETCH = "fetch"
    REFUSE = "refuse"
    KEEP_STATE = "keep_state"
    REPORT_ON_TRIAL = "report_on_trial"
    CONFIRM = "confirm"
    REJECT = "reject"
    ROLL_BACK = "roll_back"
    FINISH_ROLLBACK = "finish_rollback"


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything that the next step depends on."""

    desired: Desired
    container: Container | None = None
    last: Observed | None = None
    stale: bool = False
    """The container was made from something else than what is wanted now."""
    stopping: bool = False
    """We asked this container to end, and wait for it."""
    ready: bool = False
    """The gateway of this start said that it has started."""
    overdue: bool = False
    """The gateway of this start takes longer than any start may."""
    late: bool = False
    """The phase that was said last has lasted longer than it may."""
    adjusted: bool = True
    """What a container can be given while it runs was given to this one."""
    outgrown: bool = False
    """The container has other limits than it should have, or its process another heap."""
    held: bool = False
    """This generation failed, and its next attempt is not due."""
    exit: ExitCause | None = None
    """How the container ended since we started it last, if it did."""
    restarts: int = 0
    """How often it was started again lately although nobody asked for that."""
    images: Choice = NO_CHOICE
    fetching: bool = False
    """The wanted image is being pulled for it."""
    trial: Trial | None = None
    proven: bool = False
    """The present start has served long enough to confirm its update."""

    @property
    def trying(self) -> bool:
        """Whether what it is made from now is on trial."""
        trial = self.trial
        made_from = self.container.image if self.container is not None else self.images.current
        return (
            trial is not None and trial.failure is None and made_from is not None and same(made_from, trial.candidate)
        )


def decide(situation: Situation) -> Step:
    """Return the next step."""
    match situation.desired.desired_state:
        case DesiredState.DELETED:
            return _to_deleted(situation)
        case DesiredState.STOPPED:
            return _to_stopped(situation)
        case DesiredState.RUNNING:
            return _to_running(situation)


def ended_unasked(situation: Situation) -> bool:
    """Say whether the instance ended, or is on another start than the one known, and nobody asked for that."""
    last, container = situation.last, situation.container
    if last is None or last.phase not in {Phase.STARTING, Phase.RUNNING, Phase.FAILED}:
        return False
    if situation.exit is not None:
        return True
    if last.started_at is None:
        return False
    return container is None or not container.active or container.started_at != last.started_at


def _to_deleted(situation: Situation) -> Step:
    last = situation.last
    gone = (
        last is not None
        and last.phase is Phase.REMOVED
        and last.reason is None
        and last.generation >= situation.desired.generation
    )
    return Step.NOTHING if gone and situation.container is None else Step.REMOVE


def _to_stopped(situation: Situation) -> Step:
    container = situation.container
    if not situation.stopping and (container is None or not container.active):
        return Step.REPORT_STOPPED
    if situation.late:
        return Step.REPORT_LATE
    return Step.NOTHING if situation.stopping or situation.held else Step.STOP


def _to_running(situation: Situation) -> Step:
    if situation.late:
        return Step.REPORT_LATE
    if situation.stopping:
        return Step.NOTHING
    step = _of_image(situation) or _of_failure(situation)
    if step is not None:
        return step
    container = situation.container
    return _active(situation, container) if container is not None and container.active else _inactive(situation)


def _of_image(situation: Situation) -> Step | None:
    images, trial = situation.images, situation.trial
    if situation.trying and _trial_failed(situation):
        return Step.REJECT
    if trial is not None and trial.failure is not None:
        return _back(situation, trial)
    if images.pending and not situation.fetching and not situation.held:
        return Step.FETCH
    return Step.REFUSE if images.refused else None


def _of_failure(situation: Situation) -> Step | None:
    container, swap = situation.container, situation.images.swap
    if _refuses_config(situation) and not swap:
        return Step.GIVE_UP_CONFIG
    inactive = container is None or not container.active
    if inactive and (situation.held or (_failed_for_good(situation) and not swap)):
        return Step.NOTHING
    if situation.restarts >= RESTARTS_ALLOWED and ended_unasked(situation) and not swap:
        return Step.GIVE_UP_CRASH_LOOP
    return None


def _inactive(situation: Situation) -> Step:
    images, trial, container = situation.images, situation.trial, situation.container
    if images.swap and images.target is not None and (trial is None or not same(trial.candidate, images.target)):
        return Step.KEEP_STATE
    if container is None:
        return Step.CREATE
    # One that was just made is what it can be.
    outgrown = situation.outgrown and container.status is Status.EXITED
    other = situation.stale or images.swap or outgrown or container.status is Status.BROKEN
    return Step.REPLACE if other else Step.START


def _back(situation: Situation, trial: Trial) -> Step:
    """The way back from an update that failed; a container of anything but the candidate is one to go back to."""
    container = situation.container
    candidate_left = container is not None and container.image is not None and same(container.image, trial.candidate)
    if container is not None and container.active and not candidate_left:
        return Step.FINISH_ROLLBACK
    if situation.held:
        return Step.NOTHING
    if candidate_left or not trial.restored:
        return Step.ROLL_BACK
    if container is None:
        return Step.CREATE
    return Step.REPLACE if situation.stale or container.status is Status.BROKEN else Step.START


def _trial_failed(situation: Situation) -> bool:
    # An end that no event told of may be the engine's own, and no fault of the image: it is started again.
    told = situation.exit is not None or situation.restarts >= RESTARTS_ALLOWED
    return situation.overdue or (told and ended_unasked(situation)) or _refuses_config(situation)


def _active(situation: Situation, container: Container) -> Step:
    if (situation.stale or situation.images.swap) and not situation.held:
        return Step.STOP_TO_UPDATE
    restart = situation.desired.restart
    judged = restart is not None and restart.judged_start is not None and restart.judged_start == container.started_at
    if judged and not situation.held:
        return Step.STOP_TO_RESTART
    if container.status is Status.RESTARTING:
        return Step.NOTHING
    known_ready = _known_ready(situation, container)
    failed = situation.stale or situation.images.pending or judged or not situation.adjusted
    if situation.held and failed and known_ready:
        return Step.NOTHING  # the failed change was told with the reason; that stays said
    # A mark of readiness may be one of an earlier start, whose end no event told of.
    if known_ready or (situation.ready and not ended_unasked(situation)):
        return _serving(situation)
    return Step.REPORT_OVERDUE if situation.overdue else Step.AWAIT_READY


def _serving(situation: Situation) -> Step:
    if not situation.adjusted and not situation.held:
        return Step.ADJUST
    if situation.trial is None:
        return Step.REPORT_RUNNING
    return Step.CONFIRM if situation.proven or not situation.trying else Step.REPORT_ON_TRIAL


def _known_ready(situation: Situation, container: Container) -> bool:
    last = situation.last
    return (
        last is not None
        and situation.exit is None
        and last.phase is Phase.RUNNING
        and (last.container_id, last.started_at) == (container.id, container.started_at)
    )


def _refuses_config(situation: Situation) -> bool:
    container, ended = situation.container, situation.exit
    if container is None or (_failed_for_good(situation) and not container.active):
        return False
    if ended is not None:
        return ended.code == CONFIG_EXIT_CODE and ended_unasked(situation)
    waiting = container.status is Status.RESTARTING or (container.status is Status.EXITED and ended_unasked(situation))
    return waiting and container.exit_code == CONFIG_EXIT_CODE


def _failed_for_good(situation: Situation) -> bool:
    last = situation.last
    return (
        last is not None
        and last.phase is Phase.FAILED
        and last.reason in FINAL_REASONS
        and last.generation >= situation.desired.generation
    )
