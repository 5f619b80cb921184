"""A staged update of many instances: a canary first, then batches, and a stop at the first failure.

    in order ─> canary ─> batch ─> batch ─> ...
                  │each: order the update, then look at it until it is confirmed, failed, or late
                  └─ one fails: those asked already are looked after to their end, nobody else is asked

Repeating a rollout is harmless: an instance that runs what its image names by now has nothing to do.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from clawstead_cli.adapters.api_http import NotThereError, RefusedError
from clawstead_cli.deadline import Deadline
from clawstead_cli.errors import UnreachableError
from clawstead_cli.instance import Instance

_POLL_SECONDS = 1.0
_ORDER_SECONDS = 30.0
_RANKS = {"running": 0, "failed": 2, "stopped": 3}
_ON_THE_WAY = 1


class Outcome(StrEnum):
    """How an update ended for one instance."""

    UPDATED = "updated"
    AT_NEXT_START = "at next start"
    DELETED = "deleted"
    ROLLED_BACK = "rolled back"
    FAILED = "failed"
    REFUSED = "refused"
    LATE = "not in time"
    UNCONFIRMED = "not confirmed"
    NOT_TRIED = "not tried"

    @property
    def good(self) -> bool:
        """Whether a rollout goes on."""
        return self in {Outcome.UPDATED, Outcome.AT_NEXT_START, Outcome.DELETED}


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one instance."""

    instance: Instance
    outcome: Outcome
    detail: str = ""


class Fleet(Protocol):
    """The instances, behind the API."""

    def order(self, instance: Instance) -> Instance:
        """Order the update of an instance; repeating it has no further effect.

        Raises:
            RefusedError: it cannot be updated.
            UnreachableError: the API does not answer.
        """
        ...

    def look(self, instance: Instance) -> Instance:
        """Return the instance as it is now.

        Raises:
            NotThereError: it is gone.
            UnreachableError: the API does not answer.
        """
        ...


class Watcher(Protocol):
    """Whoever watches a rollout."""

    def stage(self, instances: Sequence[Instance], left: int) -> None:
        """Say who is updated now, and how many come after them."""

    def moved(self, instance: Instance) -> None:
        """Say that an instance got further."""

    def ended(self, result: Result) -> None:
        """Say what became of an instance."""


def stages(instances: Sequence[Instance], batch: int) -> Iterator[list[Instance]]:
    """Yield one canary, then batches: those that run first, as only they can prove an image."""
    ordered = sorted(
        (instance for instance in instances if instance.desired_state != "deleted"),
        key=lambda instance: (_RANKS.get(instance.phase, _ON_THE_WAY), instance.id),
    )
    for begin, end in [(0, 1), *((at, at + batch) for at in range(1, len(ordered), batch))]:
        if stage := ordered[begin:end]:
            yield stage


def judge(instance: Instance, ordered: Instance) -> Result | None:
    """Say what became of an update that was taken as ``ordered``, None while it is under way."""
    if instance.desired_state == "deleted":
        return Result(instance, Outcome.DELETED)
    if instance.desired_state == "stopped":
        return Result(instance, Outcome.AT_NEXT_START, "it is stopped")
    taken_up = (instance.observed_generation or 0) >= ordered.generation
    if not taken_up or instance.phase not in {"running", "failed"} or instance.progress is not None:
        return None
    return _judge_arrived(instance, ordered.image_revision)


def _judge_arrived(instance: Instance, revision: int) -> Result | None:
    running, rejected = instance.running_image, instance.rejected_image
    if instance.phase == "running" and rejected and rejected.revision >= revision:
        return Result(instance, Outcome.ROLLED_BACK, rejected.message or "")
    if instance.phase == "running" and running and running.revision >= revision:
        return Result(instance, Outcome.UPDATED)
    if instance.phase == "failed" or instance.reason is not None:
        return Result(instance, Outcome.FAILED, f"{instance.reason}: {instance.message}")
    return None


class Rollout:
    """One run over some instances. ``results`` is true at any moment, also when it is broken off."""

    def __init__(
        self,
        fleet: Fleet,
        watcher: Watcher,
        *,
        timeout_seconds: float,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._fleet = fleet
        self._watcher = watcher
        self._timeout_seconds = timeout_seconds
        self._sleep = sleep
        self._results: dict[str, Result] = {}

    @property
    def results(self) -> list[Result]:
        """What became of every instance so far, in the order in which they come."""
        return list(self._results.values())

    @property
    def succeeded(self) -> bool:
        """Whether every instance is updated, or will be when it starts."""
        return all(result.outcome.good for result in self._results.values())

    def run(self, instances: Sequence[Instance], batch: int) -> None:
        """Update all instances, or as many as come before the first failure."""
        planned = list(stages(instances, batch))
        for instance in (each for stage in planned for each in stage):
            self._results[instance.id] = Result(instance, Outcome.NOT_TRIED)
        left = len(self._results)
        for stage in planned:
            left -= len(stage)
            self._watcher.stage(stage, left)
            self._update(stage)
            if not all(self._results[instance.id].outcome.good for instance in stage):
                return

    def _update(self, stage: Sequence[Instance]) -> None:
        deadline = Deadline.after(self._timeout_seconds)
        under_way: dict[str, tuple[Instance, Instance]] = {}
        for instance in stage:
            if ordered := self._order(instance):
                under_way[instance.id] = (ordered, ordered)
        while under_way:
            for instance_id, (ordered, seen) in list(under_way.items()):
                result, now = self._look(ordered, seen)
                under_way[instance_id] = (ordered, now)
                if result is None and deadline.passed:
                    result = Result(now, Outcome.LATE, now.stalled_hint or now.now)
                if result is not None:
                    self._end(result)
                    del under_way[instance_id]
            if under_way:
                self._sleep(_POLL_SECONDS)

    def _order(self, instance: Instance) -> Instance | None:
        deadline = Deadline.after(min(_ORDER_SECONDS, self._timeout_seconds))
        while True:
            try:
                # Noted first: when this is broken off, the API may have taken the order.
                self._results[instance.id] = Result(instance, Outcome.UNCONFIRMED)
                return self._fleet.order(instance)
            except NotThereError:
                self._end(Result(instance, Outcome.DELETED))
                return None
            except RefusedError as refused:
                self._end(Result(instance, Outcome.REFUSED, str(refused)))
                return None
            except UnreachableError as error:
                if deadline.passed:
                    self._end(Result(instance, Outcome.UNCONFIRMED, str(error)))
                    return None
                self._sleep(_POLL_SECONDS)

    def _look(self, ordered: Instance, seen: Instance) -> tuple[Result | None, Instance]:
        try:
            now = self._fleet.look(ordered)
        except NotThereError:
            return Result(seen, Outcome.DELETED), seen
        except UnreachableError:
            return None, seen
        if now.now != seen.now:
            self._watcher.moved(now)
        return judge(now, ordered), now

    def _end(self, result: Result) -> None:
        self._results[result.instance.id] = result
        self._watcher.ended(result)
