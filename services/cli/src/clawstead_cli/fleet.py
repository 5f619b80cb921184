"""The fleet at one moment of the log: the newest event of every topic and instance up to then. Pure.

Every event is a full snapshot of its topic, so nothing but the newest of each is needed.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from clawstead_cli.entries import Entry
from clawstead_cli.field_changes import Change, changes, fields_of
from clawstead_shared.events import Desired, DesiredState, Event, Health, Observed, Payload, Phase, Route
from clawstead_shared.messaging.log import Stored
from clawstead_shared.subjects import Topic

_LEFT_OUT = {"instance_id", "audit"}


@dataclass(slots=True)
class Instance:
    """What the log says of one instance, by topic."""

    id: str
    events: dict[Topic, Event[Payload]] = field(default_factory=dict)

    @property
    def desired(self) -> Desired | None:
        """What it should be."""
        data = self._data(Topic.DESIRED)
        return data if isinstance(data, Desired) else None

    @property
    def observed(self) -> Observed | None:
        """What it is."""
        data = self._data(Topic.OBSERVED)
        return data if isinstance(data, Observed) else None

    @property
    def name(self) -> str:
        """What its owner calls it, empty if that is not in the log."""
        return self.desired.spec.name if self.desired else ""

    @property
    def removed(self) -> bool:
        """Whether it is gone, as wanted."""
        wanted = self.desired.desired_state if self.desired else DesiredState.DELETED
        return wanted is DesiredState.DELETED and self.observed is not None and self.observed.phase is Phase.REMOVED

    def row(self) -> dict[str, Any]:
        """Return it in one line of a table, and for programs."""
        desired, observed = self.desired, self.observed
        route, health = self._data(Topic.ROUTE), self._data(Topic.HEALTH)
        return {
            "id": self.id,
            "name": self.name,
            "desired": desired.desired_state.value if desired else None,
            "phase": (observed.phase if observed else Phase.PENDING).value,
            "generation": desired.generation if desired else None,
            "observed_generation": observed.generation if observed else None,
            "image": self._image(),
            "route": _route(route) if isinstance(route, Route) else None,
            "verdict": health.verdict.value if isinstance(health, Health) else None,
        }

    def fields(self) -> dict[str, Any]:
        """Return everything that the log says of it, by dotted path."""
        found: dict[str, Any] = {}
        for topic in Topic:
            if event := self.events.get(topic):
                found |= fields_of(event.data.model_dump(mode="json", exclude=_LEFT_OUT), f"{topic}.")
        return found

    def _data(self, topic: Topic) -> Payload | None:
        event = self.events.get(topic)
        return event.data if event else None

    def _image(self) -> str | None:
        if self.observed and self.observed.image:
            return self.observed.image.reference
        return self.desired.spec.image if self.desired else None


def _route(route: Route) -> str:
    return route.upstream or "active" if route.active else "off"


class Fleet:
    """The fold: messages of the log go in, in any order and however often, the state comes out."""

    def __init__(self, stored: Iterable[Stored] = ()) -> None:
        self._instances: dict[str, Instance] = {}
        self.unreadable: dict[int, str] = {}
        """Messages that are no events and so change nothing: why, by sequence."""
        for message in stored:
            self.add(message)

    def add(self, stored: Stored) -> None:
        """Take in one message."""
        entry = Entry.of(stored)
        if entry.event is None:
            self.unreadable[stored.sequence] = entry.problem or ""
            return
        event = entry.event
        events = self._instances.setdefault(event.instance_id, Instance(event.instance_id)).events
        held = events.get(event.topic)
        if held is None or (held.sequence or 0) < stored.sequence:
            events[event.topic] = event

    def instances(self) -> list[Instance]:
        """Return every instance, oldest first: ids begin with the time of their making."""
        return [self._instances[instance_id] for instance_id in sorted(self._instances)]

    def get(self, instance_id: str) -> Instance:
        """Return one instance; one that the log does not know has no events."""
        return self._instances.get(instance_id) or Instance(instance_id)


@dataclass(frozen=True, slots=True)
class Difference:
    """How one instance differs between two moments."""

    id: str
    name: str
    before: Instance
    after: Instance
    changes: tuple[Change, ...]

    @property
    def kind(self) -> str:
        """``appeared``, ``vanished`` or ``changed``."""
        if not self.before.events:
            return "appeared"
        return "changed" if self.after.events else "vanished"


def differences(before: Fleet, after: Fleet) -> list[Difference]:
    """Return the instances that are not the same in both, oldest first."""
    found = []
    for instance_id in sorted({instance.id for fleet in (before, after) for instance in fleet.instances()}):
        old, new = before.get(instance_id), after.get(instance_id)
        if changed := changes(old.fields(), new.fields()):
            found.append(Difference(instance_id, new.name or old.name, old, new, tuple(changed)))
    return found
