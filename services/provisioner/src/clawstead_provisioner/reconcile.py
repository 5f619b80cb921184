"""Makes one instance match its newest desired state: look, take one step, look again.

    newest desired ─┐
    engine.inspect ─┼─> Situation ─> decide ─> step ─> look again, until there is nothing to do
    memory ─────────┘

The desired state is read before every step, so a delete overtakes whatever is under way. Long waits are not
steps: a boot, a graceful stop and a pull run in the background and have the instance looked at when they end.
The work queue calls this for one instance at a time.
"""

import copy
import time
from collections.abc import Awaitable, Callable, Iterable

import structlog
from opentelemetry import trace
from prometheus_client import Histogram

from clawstead_provisioner import bring_up, take_down, trial
from clawstead_provisioner.decide import Situation, Step, decide, ended_unasked
from clawstead_provisioner.errors import ProvisioningError, VanishedError
from clawstead_provisioner.hearsay import misheard, newest_desired
from clawstead_provisioner.look import look
from clawstead_provisioner.memory import Memory
from clawstead_provisioner.ports import EngineEvent, Happening, Listed, Status
from clawstead_provisioner.work import Tools, Work
from clawstead_shared.errors import TransientError
from clawstead_shared.events import Desired, DesiredState, Event, Observed, Payload, Phase, Reason
from clawstead_shared.messaging import EventReader
from clawstead_shared.subjects import Topic
from clawstead_shared.telemetry import continued_trace

log = structlog.get_logger()

STEP = Histogram(
    "clawstead_provisioner_step_seconds",
    "Time that a step took",
    ["step"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60),
)

_TRACER = trace.get_tracer("clawstead.provisioner")
_MOST_STEPS = 16
"""More than any way through the table; a longer one goes in circles."""


class Reconciler:
    """Everything that is known of the instances, and the way to change it."""

    def __init__(self, tools: Tools, reader: EventReader) -> None:
        self.departures = tools.departures
        self._tools = tools
        self._reader = reader
        self._memories: dict[str, Memory] = {}
        self._removed: dict[str, int] = {}
        self._orphans: set[str] = set()

    async def reconcile(self, instance_id: str) -> None:
        """Bring one instance to its newest desired state, or to a wait that will call again.

        Raises:
            TransientError: the bus did not answer, or the world keeps changing.
        """
        work: Work | None = None
        with structlog.contextvars.bound_contextvars(instance_id=instance_id):
            try:
                await self._say_again(instance_id)
                for _ in range(_MOST_STEPS):
                    memory = await self._recalled(instance_id)
                    event = await newest_desired(self._reader, instance_id, memory)
                    if event is None or not isinstance(event.data, Desired):
                        await self._remove_orphan(instance_id)
                        return
                    work = work or Work(self._tools, event.data, memory)
                    work.desired = event.data
                    work.queued = False
                    with continued_trace(event.traceparent):
                        await self._say_end(work)
                        if not await self._advance(work):
                            self._forget_removed(work)
                            return
            finally:
                self._keep_slot(instance_id, queued=work is not None and work.queued)
                self._look_in_time(instance_id)
        raise TransientError("the instance did not settle")

    def restore(self, observed: dict[str, Event[Payload]]) -> None:
        """Take over what was said last of all instances, and the ports they had."""
        for instance_id, event in observed.items():
            memory = self._memories.setdefault(instance_id, Memory())
            self._tools.observations.restore(memory, event)
            self._note_last(instance_id, memory)

    def hold_ports(self, listed: Iterable[Listed]) -> None:
        """Take note of the ports of containers that nothing was said of: the log may have lost it."""
        # What was removed while the engine made its list gave its port up.
        known = self._memories.keys() | self._removed.keys()
        for item in listed:
            if item.instance_id not in known and item.port is not None:
                self._tools.ports.hold(item.instance_id, item.port)

    def renew(self) -> None:
        """Have said again what is known of every instance: the log that held it was lost."""
        for instance_id, memory in self._memories.items():
            memory.unsaid = memory.last is not None
            self._tools.queue.submit(instance_id)

    def misheard(self, observed: dict[str, Event[Payload]]) -> set[str]:
        """Return the instances of which the log tells last what was not said last: they need another look."""
        return misheard(observed, self._memories, self._removed, self._tools.queue.busy)

    async def foresee(self, instance_id: str) -> tuple[Work, Situation] | None:
        """Look at an instance as ``reconcile`` would, and leave everything as it is; None if nobody wants it.

        Raises:
            TransientError: the bus did not answer.
            ProvisioningError: the engine did not answer, or the desired state cannot be had.
        """
        memory = copy.deepcopy(self._memories.get(instance_id)) or Memory()
        if not memory.loaded:
            said = await self._reader.newest(Topic.OBSERVED, instance_id)
            memory.last = said.data if said is not None and isinstance(said.data, Observed) else None
        event = await newest_desired(self._reader, instance_id, memory)
        if event is None or not isinstance(event.data, Desired):
            return None
        memory.expects(event.data.generation)
        work = Work(self._tools, event.data, memory)
        situation = await look(work)
        work.unasked = max(memory.ends, 1) if ended_unasked(situation) else 0
        return work, situation

    def note(self, event: EngineEvent) -> None:
        """Take note of what the engine tells, and have the instance looked at if that may matter."""
        instance_id, queue = event.instance_id, self._tools.queue
        memory = self._memories.setdefault(instance_id, Memory())
        match event.happening:
            case Happening.OUT_OF_MEMORY:
                memory.out_of_memory_at = event.at
            case Happening.DIED:
                if memory.note_end(event.at, event.exit_code or 0):
                    self._tools.boots.cancel(instance_id)
                    queue.submit(instance_id)
            case Happening.STARTED | Happening.DESTROYED:
                # Our own doing, if a run is under way or waits for exactly that start.
                if not queue.busy(instance_id) and not self._tools.boots.watching(instance_id):
                    queue.submit(instance_id)

    def settled(self, desired: Desired, listed: Listed | None) -> bool:
        """Say whether a listing shows no reason to look closer."""
        instance_id = desired.instance_id
        if desired.desired_state is DesiredState.DELETED:
            return listed is None and self._removed.get(instance_id, 0) >= desired.generation
        memory = self._memories.get(instance_id)
        last = memory.last if memory else None
        if last is None or last.generation != desired.generation:
            return False
        running = listed is not None and listed.status is Status.RUNNING
        if desired.desired_state is DesiredState.STOPPED:
            return last.phase is Phase.STOPPED and not running
        same = listed is not None and listed.container_id == last.container_id
        quiet = last.reason in {None, Reason.UPDATE_ROLLED_BACK} and last.progress is None
        return last.phase is Phase.RUNNING and quiet and running and same

    def condemn(self, instance_id: str) -> None:
        """Have the engine objects of an instance removed that nobody ever asked for; its directories stay."""
        self._orphans.add(instance_id)
        self._tools.queue.submit(instance_id)

    def _keep_slot(self, instance_id: str, *, queued: bool) -> None:
        # However the run ended: a boot slot is only for a boot, a place in the line only for who still wants one.
        if not queued and not self._tools.boots.watching(instance_id):
            self._tools.slots.release(instance_id)

    def _look_in_time(self, instance_id: str) -> None:
        memory = self._memories.get(instance_id)
        left = self._tools.patience.deadlines.left(memory) if memory else None
        if left is not None and left > 0:
            self._tools.queue.submit_after(left, instance_id)

    async def _recalled(self, instance_id: str) -> Memory:
        memory = self._memories.setdefault(instance_id, Memory())
        if not memory.loaded:
            await self._tools.observations.recall(instance_id, memory)
            self._note_last(instance_id, memory)
        return memory

    def _note_last(self, instance_id: str, memory: Memory) -> None:
        last = memory.last
        if last is None:
            return
        if _gone(last):
            self._removed[instance_id] = last.generation
        elif last.port is not None:
            self._tools.ports.hold(instance_id, last.port)

    def _forget_removed(self, work: Work) -> None:
        last = work.memory.last
        if last is not None and _gone(last):
            self._removed[work.instance_id] = last.generation
            self._memories.pop(work.instance_id, None)

    async def _say_again(self, instance_id: str) -> None:
        memory = self._memories.get(instance_id)
        if memory is not None and memory.unsaid:
            await self._tools.observations.repeat(memory)

    async def _say_end(self, work: Work) -> None:
        # The engine answers nothing about a container until it has taken its network down, a tenth of a second
        # after it told of the end: too long to send visitors there.
        memory, last, desired = work.memory, work.memory.last, work.desired
        if memory.exit is None or last is None or last.phase is not Phase.RUNNING:
            return
        wanted = desired.desired_state is DesiredState.RUNNING and desired.generation == last.generation
        if wanted and memory.stopping is None and memory.trial is None:
            await self._tools.observations.publish_end(memory, last, memory.exit)

    async def _advance(self, work: Work) -> bool:
        work.memory.expects(work.desired.generation)
        try:
            situation = await self._look(work)
            step = decide(situation)
            if step is Step.NOTHING:
                return False
            work.unasked = max(work.memory.ends, 1) if ended_unasked(situation) else 0
            started = time.perf_counter()
            with _TRACER.start_as_current_span(f"provision.{step}"):
                again = await _STEPS[step](work)
            STEP.labels(step.value).observe(time.perf_counter() - started)
        except VanishedError:
            work.container = work.prepared = None
            return True
        except ProvisioningError as error:
            return await self._failed(work, error)
        return again

    @staticmethod
    async def _failed(work: Work, error: ProvisioningError) -> bool:
        if trial.blames_image(work, error):
            try:
                return await trial.reject_for(work, error.message)
            except ProvisioningError as worse:
                error = worse
        await take_down.fail(work, error)
        return False

    async def _look(self, work: Work) -> Situation:
        situation = await look(work)
        self._tools.workspaces.watch(work.instance_id, _quota(work.desired))
        if work.container is not None:
            self._tools.ports.hold(work.instance_id, work.container.port)
        return situation

    async def _remove_orphan(self, instance_id: str) -> None:
        if instance_id not in self._orphans:
            return
        self._orphans.discard(instance_id)
        log.warning("removing container and network that nobody asked for; directories are kept")
        try:
            await self._tools.engine.remove(instance_id)
        except ProvisioningError as error:
            raise TransientError(error.message) from error
        await self._tools.departures.leave(instance_id)


def _gone(last: Observed) -> bool:
    # What is left after a forced delete is still to be removed.
    return last.phase is Phase.REMOVED and last.reason is None


def _quota(desired: Desired) -> int | None:
    return None if desired.desired_state is DesiredState.DELETED else desired.spec.limits.workspace_bytes


_STEPS: dict[Step, Callable[[Work], Awaitable[bool]]] = {
    Step.REMOVE: take_down.remove,
    Step.STOP: take_down.begin_stop,
    Step.STOP_TO_RESTART: take_down.begin_restart,
    Step.STOP_TO_UPDATE: take_down.begin_update,
    Step.REPORT_STOPPED: take_down.report_stopped,
    Step.GIVE_UP_CONFIG: take_down.give_up_config,
    Step.GIVE_UP_CRASH_LOOP: take_down.give_up_crash_loop,
    Step.CREATE: bring_up.create,
    Step.REPLACE: bring_up.replace,
    Step.START: bring_up.start,
    Step.AWAIT_READY: bring_up.await_ready,
    Step.ADJUST: bring_up.adjust,
    Step.REPORT_RUNNING: bring_up.report_running,
    Step.REPORT_OVERDUE: bring_up.report_overdue,
    Step.REPORT_LATE: take_down.report_late,
    Step.FETCH: trial.fetch,
    Step.REFUSE: trial.refuse,
    Step.KEEP_STATE: trial.keep_state,
    Step.REPORT_ON_TRIAL: trial.report_on_trial,
    Step.CONFIRM: trial.confirm,
    Step.REJECT: trial.reject,
    Step.ROLL_BACK: trial.roll_back,
    Step.FINISH_ROLLBACK: trial.finish_rollback,
}
