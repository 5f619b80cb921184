"""The story of one instance: each desired change, and what followed from it. Pure.

What followed carries the change's trace. What carries none, or another, is put to the change of its generation, or
to the newest one, as long as that change has not come to its end; afterwards it happened by itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from clawstead_cli.entries import Entry, describe
from clawstead_cli.field_changes import Change, changes, fields_of
from clawstead_shared.events import Desired, DesiredState, Health, Observed, Phase, Route, Verdict

_LOOSE = timedelta(minutes=10)
"""What comes later than this after the last step, without the trace, did not follow from it."""
_SETTLED = {
    Phase.RUNNING: "ready",
    Phase.STOPPED: "stopped",
    Phase.FAILED: "failed",
    Phase.REMOVED: "removed",
}
_SETTLED_NAMES = frozenset(_SETTLED.values())
_NOT_COMPARED = {"instance_id", "generation", "actor", "request_id", "audit"}


@dataclass(frozen=True, slots=True)
class Hop:
    """One leg of the way from a wish to its confirmation."""

    name: str
    seconds: float
    """Since the hop before."""


@dataclass(slots=True)
class Chapter:
    """One cause, and what followed from it in the order of the log."""

    cause: Entry | None
    """None for what happened by itself, or whose cause the log does not hold any more."""
    changes: tuple[Change, ...] = ()
    """Against the desired state before."""
    first: bool = False
    """Whether there is no desired state before it."""
    steps: list[Entry] = field(default_factory=list)

    @property
    def desired(self) -> Desired | None:
        """What was wanted."""
        data = _data(self.cause) if self.cause else None
        return data if isinstance(data, Desired) else None

    @property
    def began(self) -> datetime:
        """When its first message was stored."""
        return (self.cause or self.steps[0]).stored.stored_at

    @property
    def outbox_seconds(self) -> float | None:
        """From the commit of the change to the log, None where that is not known."""
        event = self.cause.event if self.cause else None
        if event is None or event.time.tzinfo is None:
            return None
        return max((self.began - event.time).total_seconds(), 0.0)

    @property
    def hops(self) -> list[Hop]:
        """How long each leg took, as far as the change has come."""
        if self.cause is None:
            return []
        reached = sorted(self._reached().items(), key=lambda item: item[1].stored.sequence)
        hops, before = [], self.began
        for name, step in reached:
            hops.append(Hop(name, (step.stored.stored_at - before).total_seconds()))
            before = step.stored.stored_at
        return hops

    @property
    def total_seconds(self) -> float | None:
        """From the change to the last leg, None before the first."""
        hops = self.hops
        return sum(hop.seconds for hop in hops) if hops else None

    @property
    def complete(self) -> bool:
        """Whether it came to its end: nothing more has to follow."""
        reached = self._reached()
        wanted = self.desired.desired_state if self.desired else None
        if wanted is DesiredState.DELETED:
            return "removed" in reached
        return {"route", "verdict"} < set(reached) and not _SETTLED_NAMES.isdisjoint(reached)

    def since(self, step: Entry) -> float:
        """Return the seconds from the cause to a step."""
        return (step.stored.stored_at - self.began).total_seconds()

    def _reached(self) -> dict[str, Entry]:
        found: dict[str, Entry] = {}
        settled: Entry | None = None
        for step in self.steps:
            data = _data(step)
            if isinstance(data, Observed):
                if settled is None:
                    found.setdefault("provisioner", step)
                if settled is None and data.phase in _SETTLED:
                    settled = found[_SETTLED[data.phase]] = step
                    if found["provisioner"] is step:
                        del found["provisioner"]  # it began and ended in one
            elif name := _confirmation(data):
                # The last before it settled counts only until one comes after.
                held = found.get(name)
                if held is None or settled is None or held.stored.sequence < settled.stored.sequence:
                    found[name] = step
        return found


def _data(entry: Entry) -> Any:
    return entry.event.data if entry.event else None


def _confirmation(data: Any) -> str | None:
    if isinstance(data, Route):
        return "route"
    return "verdict" if isinstance(data, Health) and data.verdict is not Verdict.STARTING else None


def story(entries: Iterable[Entry]) -> list[Chapter]:
    """Group an instance's messages, given in the order of the log, by what caused them."""
    chapters: list[Chapter] = []
    traced: dict[str, Chapter] = {}
    generations: dict[int, Chapter] = {}
    previous: Desired | None = None
    for entry in entries:
        data = _data(entry)
        if isinstance(data, Desired):
            chapter = Chapter(entry, _changes(previous, data), first=previous is None)
            chapters.append(chapter)
            generations[data.generation] = chapter
            previous = data
        else:
            chapter = _home(entry, chapters, traced, generations)
            chapter.steps.append(entry)
        if entry.trace_id and (chapter.cause is entry or chapter.cause is None):
            traced[entry.trace_id] = chapter
    return chapters


def _home(
    entry: Entry, chapters: list[Chapter], traced: dict[str, Chapter], generations: dict[int, Chapter]
) -> Chapter:
    if entry.trace_id in traced:
        return traced[entry.trace_id]
    generation = getattr(_data(entry), "generation", None)
    likely = generations.get(generation) or (chapters[-1] if chapters else None)  # type: ignore[arg-type]  # None is no key
    for chapter in (likely, chapters[-1] if chapters else None):
        if chapter and _goes_on(chapter, entry):
            return chapter
    chapters.append(Chapter(None))
    return chapters[-1]


def _goes_on(chapter: Chapter, entry: Entry) -> bool:
    if chapter.cause is not None and chapter.complete:
        return False
    last = chapter.steps[-1] if chapter.steps else chapter.cause
    return last is not None and entry.stored.stored_at - last.stored.stored_at <= _LOOSE


def _changes(before: Desired | None, after: Desired) -> tuple[Change, ...]:
    if before is None:
        return ()
    old, new = (fields_of(desired.model_dump(mode="json", exclude=_NOT_COMPARED)) for desired in (before, after))
    return tuple(changes(old, new))


def chapter_row(chapter: Chapter) -> dict[str, Any]:
    """Return a chapter for programs."""
    desired, cause = chapter.desired, chapter.cause
    return {
        "began": chapter.began.isoformat(),
        "cause": cause.row() if cause else None,
        "actor": desired.actor if desired else None,
        "request_id": desired.request_id if desired else None,
        "generation": desired.generation if desired else None,
        "changes": [
            {"field": change.field, "before": change.before, "after": change.after} for change in chapter.changes
        ],
        "steps": [
            {
                "sequence": step.stored.sequence,
                "stored_at": step.stored.stored_at.isoformat(),
                "since_seconds": chapter.since(step),
                "type": step.event.type if step.event else None,
                "source": step.event.source if step.event else None,
                "trace_id": step.trace_id,
                "problem": step.problem,
                "said": describe(step.event.data) if step.event else None,
            }
            for step in chapter.steps
        ],
        "outbox_seconds": chapter.outbox_seconds,
        "hops": [{"name": hop.name, "seconds": hop.seconds} for hop in chapter.hops],
        "total_seconds": chapter.total_seconds,
        "complete": chapter.complete,
    }
