"""The table of next steps, row by row."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clawstead_provisioner.decide import Situation, Step, decide, ended_unasked
from clawstead_provisioner.ports import Container, Status
from clawstead_provisioner.spec import Resources
from clawstead_provisioner.versions import Choice, Trial
from clawstead_shared.events import DesiredState, ExitCause, ImageVersion, Observed, Phase, Reason, RestartRequest
from tests.support.factories import make_desired, make_observed

INSTANCE = "01jc00000000000000000000aa"
STARTED = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
LATER = STARTED + timedelta(minutes=1)

RUN = make_desired(INSTANCE)
STOP = make_desired(INSTANCE, desired_state=DesiredState.STOPPED)
DELETE = make_desired(INSTANCE, desired_state=DesiredState.DELETED)
RESTART = make_desired(INSTANCE, restart=RestartRequest(count=1, judged_start=STARTED))
NEWER = make_desired(INSTANCE, generation=2)

UP = Container("c1", INSTANCE, Status.RUNNING, "f", 12345, "sha256:1", Resources(1, 1, 1), started_at=STARTED)
UP_AGAIN = replace(UP, started_at=LATER)
DOWN = replace(UP, status=Status.EXITED)
DOWN_78 = replace(DOWN, exit_code=78)
LOOPING = replace(UP, status=Status.RESTARTING, exit_code=1)
LOOPING_78 = replace(LOOPING, exit_code=78)
MADE = replace(UP, status=Status.CREATED, started_at=None)
BROKEN = replace(UP, status=Status.BROKEN)

CRASHED = ExitCause(code=1)
REFUSED = ExitCause(code=78)


def said(phase: Phase, **fields: Any) -> Observed:
    defaults = {"container_id": "c1", "started_at": STARTED if phase in {Phase.STARTING, Phase.RUNNING} else None}
    return make_observed(INSTANCE, phase=phase, **{**defaults, **fields})


RUNNING = said(Phase.RUNNING)
STARTING = said(Phase.STARTING)
STARTING_UNSEEN = said(Phase.STARTING, started_at=None)
GAVE_UP = said(Phase.FAILED, reason=Reason.CRASH_LOOP)
NO_DISK = said(Phase.FAILED, reason=Reason.DISK_FULL)


def at(desired: Any, container: Container | None = None, last: Observed | None = None, **facts: Any) -> Situation:
    return Situation(desired=desired, container=container, last=last, **facts)


TABLE = [
    # deleted
    ("an unknown instance is removed to say so", at(DELETE), Step.REMOVE),
    ("a running one is removed", at(DELETE, UP, RUNNING), Step.REMOVE),
    ("a stop under way does not hold a delete", at(DELETE, UP, said(Phase.STOPPING), stopping=True), Step.REMOVE),
    ("a removed one stays removed", at(DELETE, None, said(Phase.REMOVED)), Step.NOTHING),
    ("a container that came back is removed again", at(DELETE, UP, said(Phase.REMOVED)), Step.REMOVE),
    ("what is left of a forced one goes", at(DELETE, None, said(Phase.REMOVED, reason=Reason.LEFTOVERS)), Step.REMOVE),
    # late
    ("a delete goes on when it is late", at(DELETE, UP, said(Phase.DELETING), late=True), Step.REMOVE),
    (
        "a stop that takes too long is told",
        at(STOP, UP, said(Phase.STOPPING), stopping=True, late=True),
        Step.REPORT_LATE,
    ),
    ("one that ended late is stopped", at(STOP, DOWN, said(Phase.STOPPING), late=True), Step.REPORT_STOPPED),
    ("a stop that failed is not repeated early", at(STOP, UP, said(Phase.FAILED), held=True), Step.NOTHING),
    (
        "an update that takes too long is told",
        at(RUN, UP, said(Phase.UPDATING), stopping=True, late=True),
        Step.REPORT_LATE,
    ),
    ("so is a creation", at(RUN, None, said(Phase.PROVISIONING), late=True), Step.REPORT_LATE),
    # stopped
    ("a running one is stopped", at(STOP, UP, RUNNING), Step.STOP),
    ("a restarting one is stopped", at(STOP, LOOPING, RUNNING), Step.STOP),
    ("a stop under way is waited for", at(STOP, UP, said(Phase.STOPPING), stopping=True), Step.NOTHING),
    ("a stopped one is said to be", at(STOP, DOWN, said(Phase.STOPPING)), Step.REPORT_STOPPED),
    ("one that never was is stopped too", at(STOP), Step.REPORT_STOPPED),
    # running, without a container
    ("a new instance is created", at(RUN), Step.CREATE),
    ("one removed by hand is created again", at(RUN, None, RUNNING), Step.CREATE),
    ("a failed attempt is not repeated early", at(RUN, None, NO_DISK, held=True), Step.NOTHING),
    ("but later", at(RUN, None, NO_DISK), Step.CREATE),
    # running, with a container that does not run
    ("a created one is started", at(RUN, MADE, said(Phase.PROVISIONING)), Step.START),
    ("a stopped one is started", at(RUN, DOWN, said(Phase.STOPPED)), Step.START),
    ("a killed one is started", at(RUN, DOWN, RUNNING), Step.START),
    ("a stale one is replaced", at(RUN, DOWN, said(Phase.UPDATING), stale=True), Step.REPLACE),
    ("one with other limits is replaced", at(RUN, DOWN, said(Phase.STOPPED), outgrown=True), Step.REPLACE),
    ("but not one that was just made", at(RUN, MADE, said(Phase.PROVISIONING), outgrown=True), Step.START),
    ("a half removed one is replaced", at(RUN, BROKEN, RUNNING), Step.REPLACE),
    ("a given-up one stays", at(RUN, DOWN, GAVE_UP), Step.NOTHING),
    ("until a new generation", at(NEWER, DOWN, GAVE_UP), Step.START),
    ("so does a refused config", at(RUN, DOWN_78, said(Phase.FAILED, reason=Reason.CONFIG_INVALID)), Step.NOTHING),
    ("until a new generation, too", at(NEWER, DOWN_78, said(Phase.FAILED, reason=Reason.CONFIG_INVALID)), Step.START),
    ("after our stop it starts, whatever the code", at(RUN, DOWN_78, said(Phase.STOPPING)), Step.START),
    # running, with a container that runs
    ("an unknown start is waited for", at(RUN, UP), Step.AWAIT_READY),
    ("our start is waited for", at(RUN, UP, STARTING_UNSEEN), Step.AWAIT_READY),
    ("ready is said", at(RUN, UP, STARTING, ready=True), Step.REPORT_RUNNING),
    ("what was ready is ready after our restart", at(RUN, UP, RUNNING), Step.REPORT_RUNNING),
    ("another start must get ready again", at(RUN, UP_AGAIN, RUNNING), Step.AWAIT_READY),
    ("a crash in between, too", at(RUN, UP, RUNNING, exit=CRASHED), Step.AWAIT_READY),
    ("a slow start is reported", at(RUN, UP, STARTING, overdue=True), Step.REPORT_OVERDUE),
    ("the engine's own restart is waited for", at(RUN, LOOPING, RUNNING), Step.NOTHING),
    ("a stale one is stopped to be replaced", at(RUN, UP, RUNNING, stale=True), Step.STOP_TO_UPDATE),
    ("a failed replacement leaves the old one", at(RUN, UP, RUNNING, stale=True, held=True), Step.NOTHING),
    ("a running one is adjusted", at(NEWER, UP, RUNNING, adjusted=False), Step.ADJUST),
    ("one that got ready is adjusted first", at(RUN, UP, STARTING, ready=True, adjusted=False), Step.ADJUST),
    ("one that starts is not", at(RUN, UP, STARTING, adjusted=False), Step.AWAIT_READY),
    ("a failed adjustment stays said", at(RUN, UP, RUNNING, adjusted=False, held=True), Step.NOTHING),
    ("other limits do not stop a running one", at(RUN, UP, RUNNING, outgrown=True), Step.REPORT_RUNNING),
    ("the judged start is restarted", at(RESTART, UP, RUNNING), Step.STOP_TO_RESTART),
    ("a restart that cannot work leaves it running", at(RESTART, UP, RUNNING, held=True), Step.NOTHING),
    ("a later start is not", at(RESTART, UP_AGAIN, said(Phase.RUNNING, started_at=LATER)), Step.REPORT_RUNNING),
    ("a stop under way ends before a start", at(RUN, UP, said(Phase.STOPPING), stopping=True), Step.NOTHING),
    ("one started by hand after we gave up is adopted", at(RUN, UP_AGAIN, GAVE_UP), Step.AWAIT_READY),
    # exits
    ("code 78 is the end", at(RUN, UP_AGAIN, STARTING, exit=REFUSED), Step.GIVE_UP_CONFIG),
    ("also between the engine's restarts", at(RUN, LOOPING_78, STARTING_UNSEEN), Step.GIVE_UP_CONFIG),
    ("also unheard, after our restart", at(RUN, DOWN_78, RUNNING), Step.GIVE_UP_CONFIG),
    ("five restarts are borne", at(RUN, DOWN, RUNNING, exit=CRASHED, restarts=4), Step.START),
    ("a sixth is not", at(RUN, DOWN, RUNNING, exit=CRASHED, restarts=5), Step.GIVE_UP_CRASH_LOOP),
    ("also of a running one", at(RUN, UP_AGAIN, RUNNING, restarts=5), Step.GIVE_UP_CRASH_LOOP),
    ("also of one removed by hand", at(RUN, None, RUNNING, restarts=5), Step.GIVE_UP_CRASH_LOOP),
    ("restarts long past do not count against a healthy one", at(RUN, UP, RUNNING, restarts=5), Step.REPORT_RUNNING),
]

V1, V2, V3 = (
    ImageVersion(reference=f"openclaw:{number}", revision=number, digest=f"sha256:{number}") for number in (1, 2, 3)
)
ON_1 = replace(UP, image_reference="openclaw:1", image_revision=1)
ON_2 = replace(UP, image_digest="sha256:2", image_reference="openclaw:2", image_revision=2)
LOOPING_2 = replace(ON_2, status=Status.RESTARTING, exit_code=78)
OFF_1, OFF_2 = replace(ON_1, status=Status.EXITED), replace(ON_2, status=Status.EXITED, exit_code=1)
STAY, WAIT, KNOWN_BAD = Choice(V1, V1), Choice(V1, V1, pending=True), Choice(V1, V1, refused=True)
SWAP, DONE, BACK = Choice(V1, V2), Choice(V2, V2), Choice(V2, V1)
TRIAL = Trial(good=V1, candidate=V2)
OTHER_TRIAL = Trial(good=V1, candidate=V3)
LOST = TRIAL.model_copy(update={"failure": "it ended"})
RESTORED = LOST.model_copy(update={"restored": True})
UPDATING = said(Phase.UPDATING)

UPDATES = [
    # fetching
    ("another image is fetched", at(RUN, ON_1, RUNNING, images=WAIT), Step.FETCH),
    ("while the old one starts, too", at(RUN, ON_1, STARTING, images=WAIT), Step.FETCH),
    ("the old one goes on meanwhile", at(RUN, ON_1, RUNNING, images=WAIT, fetching=True), Step.REPORT_RUNNING),
    ("and is started if it ends", at(RUN, OFF_1, RUNNING, images=WAIT, fetching=True), Step.START),
    ("and made again if it goes", at(RUN, None, RUNNING, images=WAIT, fetching=True), Step.CREATE),
    ("a failed pull stays said", at(RUN, ON_1, RUNNING, images=WAIT, held=True), Step.NOTHING),
    ("a stop does not fetch", at(STOP, ON_1, RUNNING, images=WAIT), Step.STOP),
    ("a known failure is refused", at(RUN, ON_1, RUNNING, images=KNOWN_BAD), Step.REFUSE),
    # swapping
    ("the old one is stopped", at(RUN, ON_1, RUNNING, images=SWAP), Step.STOP_TO_UPDATE),
    ("unless that failed just now", at(RUN, ON_1, RUNNING, images=SWAP, held=True), Step.REPORT_RUNNING),
    ("its state is kept", at(RUN, OFF_1, UPDATING, images=SWAP), Step.KEEP_STATE),
    ("also without a container", at(RUN, None, UPDATING, images=SWAP), Step.KEEP_STATE),
    ("also when another was on trial", at(RUN, OFF_1, UPDATING, images=SWAP, trial=OTHER_TRIAL), Step.KEEP_STATE),
    ("then its container goes", at(RUN, OFF_1, UPDATING, images=SWAP, trial=TRIAL), Step.REPLACE),
    ("and the new one comes", at(RUN, None, UPDATING, images=SWAP, trial=TRIAL), Step.CREATE),
    ("a given-up one gets its new image", at(RUN, OFF_1, GAVE_UP, images=SWAP), Step.KEEP_STATE),
    # on trial
    ("the new one is started", at(RUN, OFF_2, UPDATING, images=DONE, trial=TRIAL), Step.START),
    ("and waited for", at(RUN, ON_2, STARTING, images=DONE, trial=TRIAL), Step.AWAIT_READY),
    ("ready is not yet good", at(RUN, ON_2, STARTING, images=DONE, trial=TRIAL, ready=True), Step.REPORT_ON_TRIAL),
    ("serving for long is", at(RUN, ON_2, RUNNING, images=DONE, trial=TRIAL, proven=True), Step.CONFIRM),
    ("then it runs", at(RUN, ON_2, RUNNING, images=DONE), Step.REPORT_RUNNING),
    ("a trial of what is not there is over", at(RUN, ON_1, RUNNING, images=STAY, trial=TRIAL), Step.CONFIRM),
    ("an end is its end", at(RUN, OFF_2, STARTING, images=DONE, trial=TRIAL, exit=CRASHED), Step.REJECT),
    ("also in probation", at(RUN, ON_2, RUNNING, images=DONE, trial=TRIAL, exit=CRASHED), Step.REJECT),
    ("a refused config is", at(RUN, LOOPING_2, STARTING_UNSEEN, images=DONE, trial=TRIAL), Step.REJECT),
    ("a start without end is", at(RUN, ON_2, STARTING, images=DONE, trial=TRIAL, overdue=True), Step.REJECT),
    ("an end not told of is not", at(RUN, OFF_2, RUNNING, images=DONE, trial=TRIAL), Step.START),
    ("unless there are many", at(RUN, OFF_2, RUNNING, images=DONE, trial=TRIAL, restarts=5), Step.REJECT),
    ("our own stop is no end", at(RUN, OFF_2, said(Phase.STOPPING), images=DONE, trial=TRIAL), Step.START),
    ("it can be stopped", at(STOP, ON_2, RUNNING, images=DONE, trial=TRIAL), Step.STOP),
    ("and deleted", at(DELETE, ON_2, RUNNING, images=DONE, trial=TRIAL), Step.REMOVE),
    ("and replaced", at(RUN, ON_2, RUNNING, images=DONE, trial=TRIAL, stale=True), Step.STOP_TO_UPDATE),
    # back
    ("the candidate and its state go", at(RUN, OFF_2, UPDATING, images=BACK, trial=LOST), Step.ROLL_BACK),
    ("also a running one", at(RUN, ON_2, UPDATING, images=BACK, trial=LOST), Step.ROLL_BACK),
    ("also one in a loop of starts", at(RUN, LOOPING_2, UPDATING, images=BACK, trial=LOST), Step.ROLL_BACK),
    ("the state also without a container", at(RUN, None, UPDATING, images=BACK, trial=LOST), Step.ROLL_BACK),
    ("the container also with the state", at(RUN, OFF_2, UPDATING, images=BACK, trial=RESTORED), Step.ROLL_BACK),
    ("not again too soon", at(RUN, OFF_2, UPDATING, images=BACK, trial=LOST, held=True), Step.NOTHING),
    ("the good one is made", at(RUN, None, UPDATING, images=BACK, trial=RESTORED), Step.CREATE),
    ("and started", at(RUN, OFF_1, UPDATING, images=STAY, trial=RESTORED), Step.START),
    ("and that is the end of it", at(RUN, ON_1, STARTING, images=STAY, trial=RESTORED), Step.FINISH_ROLLBACK),
    ("a stop is a stop", at(STOP, ON_2, UPDATING, images=BACK, trial=LOST), Step.STOP),
    ("a delete is a delete", at(DELETE, ON_2, UPDATING, images=BACK, trial=LOST), Step.REMOVE),
]


@pytest.mark.parametrize(("situation", "step"), [row[1:] for row in UPDATES], ids=[row[0] for row in UPDATES])
def test_next_step_of_an_update(situation: Situation, step: Step) -> None:
    assert decide(situation) is step


@pytest.mark.parametrize(("situation", "step"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_next_step(situation: Situation, step: Step) -> None:
    assert decide(situation) is step


@pytest.mark.parametrize(
    ("situation", "unasked"),
    [
        (at(RUN, UP, RUNNING), False),
        (at(RUN, DOWN, RUNNING), True),
        (at(RUN, None, RUNNING), True),
        (at(RUN, UP_AGAIN, RUNNING), True),
        (at(RUN, UP, STARTING_UNSEEN), False),
        (at(RUN, UP, STARTING_UNSEEN, exit=CRASHED), True),
        (at(RUN, DOWN, said(Phase.STOPPING), exit=CRASHED), False),
        (at(RUN, None), False),
    ],
)
def test_an_end_that_nobody_asked_for_is_told_apart(situation: Situation, unasked: bool) -> None:
    assert ended_unasked(situation) is unasked
