"""What handling events would do now, said and not done: the dry run of a replay.

Handling looks at the newest desired state, so each instance is looked at once, by the same table that decides in
earnest. What is only said is rehearsed with the step itself, on observations that go nowhere.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from clawstead_provisioner import bring_up, take_down, trial
from clawstead_provisioner.decide import Situation, Step, decide
from clawstead_provisioner.errors import EngineUnavailableError, ProvisioningError
from clawstead_provisioner.memory import Memory
from clawstead_provisioner.observations import Observations
from clawstead_provisioner.reconcile import Reconciler
from clawstead_provisioner.work import Work
from clawstead_provisioner.work_queue import WorkQueue
from clawstead_shared.control import Effect
from clawstead_shared.events import Event, Observed, Payload, Phase
from clawstead_shared.messaging.control import RefusedError

_LOOKS_AT_ONCE = 8
_SAY = "publish observation"
_NEED_CONTAINER = frozenset({"stop container", "remove container"})

_WORDS: dict[Step, Callable[[Work], Awaitable[bool]]] = {
    Step.REPORT_STOPPED: take_down.report_stopped,
    Step.REPORT_LATE: take_down.report_late,
    Step.REPORT_RUNNING: bring_up.report_running,
    Step.REPORT_OVERDUE: bring_up.report_overdue,
    Step.REPORT_ON_TRIAL: trial.report_on_trial,
    Step.REFUSE: trial.refuse,
}
"""Steps that do nothing but say something."""

_DEEDS: dict[Step, tuple[str, ...]] = {
    Step.NOTHING: (),
    Step.REMOVE: ("stop container", "remove container", "remove network", "remove directories", _SAY),
    Step.STOP: (_SAY, "stop container"),
    Step.STOP_TO_RESTART: (_SAY, "stop container", "start container"),
    Step.STOP_TO_UPDATE: (_SAY, "stop container", "remove container", "create container", "start container"),
    Step.CREATE: ("write files", "create network", "create container", "start container", _SAY),
    Step.REPLACE: ("remove container", "write files", "create container", "start container", _SAY),
    Step.START: ("write files", "start container", _SAY),
    Step.ADJUST: ("write files", "adjust limits", _SAY),
    Step.GIVE_UP_CONFIG: ("stop container", _SAY),
    Step.GIVE_UP_CRASH_LOOP: ("stop container", _SAY),
    Step.FETCH: ("pull image",),
    Step.KEEP_STATE: ("keep state", "remove container", "create container", "start container", _SAY),
    Step.CONFIRM: ("drop kept state", _SAY),
    Step.REJECT: ("give image up", _SAY),
    Step.ROLL_BACK: ("stop container", "restore state", "remove container", _SAY),
    Step.FINISH_ROLLBACK: ("drop kept state", _SAY),
}
"""What a step, and those that follow it without more to wait for, do."""


class Rehearsal:
    """Foresees what a reconciler would do."""

    def __init__(self, reconciler: Reconciler, queue: WorkQueue) -> None:
        self._reconciler = reconciler
        self._queue = queue

    async def plan(self, events: Sequence[Event[Payload]]) -> list[Effect]:
        """Return every effect that handling ``events`` would have now, and cause none.

        Raises:
            RefusedError: the engine does not answer, so nothing can be foreseen.
            TransientError: the bus did not answer.
        """
        places = asyncio.Semaphore(_LOOKS_AT_ONCE)
        names = sorted({event.instance_id for event in events})
        found = await asyncio.gather(*(self._of(name, places) for name in names))
        return [effect for effects in found for effect in effects]

    async def _of(self, instance_id: str, places: asyncio.Semaphore) -> list[Effect]:
        if self._queue.busy(instance_id):
            return [Effect(instance_id=instance_id, action="finish", detail="it is being worked on already")]
        async with places:
            try:
                foreseen = await self._reconciler.foresee(instance_id)
                return await _effects(*foreseen) if foreseen else []
            except EngineUnavailableError as error:
                hint = "start the container engine, or wait until it is back"
                raise RefusedError(f"the engine does not answer: {error.message}", hint=hint) from error
            except ProvisioningError as error:
                return [Effect(instance_id=instance_id, action=_SAY, detail=f"failed: {error.message}")]


async def _effects(work: Work, situation: Situation) -> list[Effect]:
    step = decide(situation)
    if step is Step.AWAIT_READY:
        return _waiting(work)
    if (word := _WORDS.get(step)) is not None:
        return await _said(work, word)
    detail = f"{situation.desired.desired_state} is wanted, as of generation {situation.desired.generation}"
    done = [action for action in _DEEDS[step] if work.container is not None or action not in _NEED_CONTAINER]
    return [Effect(instance_id=work.instance_id, action=action, detail=detail) for action in done]


def _waiting(work: Work) -> list[Effect]:
    last = work.memory.last
    if last is not None and last.phase is Phase.STARTING and not work.unasked:
        return []
    return [Effect(instance_id=work.instance_id, action=_SAY, detail=Phase.STARTING.value)]


async def _said(work: Work, word: Callable[[Work], Awaitable[bool]]) -> list[Effect]:
    told = _Unspoken(work.tools.observations)
    work.tools = replace(work.tools, observations=told, queue=_Idle())
    await word(work)
    return [Effect(instance_id=work.instance_id, action=_SAY, detail=observed.phase.value) for observed in told.words]


class _Unspoken(Observations):
    """Remembers what would have been published."""

    def __init__(self, spoken: Observations) -> None:
        super().__init__(spoken.sink, spoken.reader, spoken.host)
        self.words: list[Observed] = []

    async def _say(self, memory: Memory, observed: Observed) -> None:
        if observed != memory.last:
            self.words.append(observed)


class _Idle(WorkQueue):
    """A queue that nobody works on."""

    def __init__(self) -> None:
        super().__init__(_no_work, concurrency=1)

    def submit(self, key: str) -> asyncio.Future[None]:
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        outcome.cancel()
        return outcome

    def submit_after(self, seconds: float, key: str) -> None:
        return


async def _no_work(key: str) -> None:
    raise LookupError(f"nothing is worked on here, not even {key}")
