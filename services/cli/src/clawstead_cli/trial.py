"""A whole life of an instance as a test: created, timed through every phase, checked, deleted.

create ─> running ─> route active ─> first 200 through the edge ─> checks ─> delete ─> gone
   └────────── whatever goes wrong, Ctrl-C included ──────────────────────────▲
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Protocol

from clawstead_cli.arrival import Order, wait
from clawstead_cli.deadline import Deadline
from clawstead_cli.errors import CommandError
from clawstead_cli.inspection import HEALTH_PATH, PublicFace, inspect
from clawstead_cli.instance import DELETED, RUNNING, Instance
from clawstead_cli.instances import Instances
from clawstead_cli.validation import Check
from clawstead_shared.events import Verdict
from clawstead_shared.ids import new_event_id

_POLL_SECONDS = 0.1
_JUDGED_SECONDS = 30.0
"""How long the health monitor may take for its first verdict."""

_MARKS = {
    "clawstead.instance.provisioning_begun": "provisioning",
    "clawstead.instance.start_begun": "starting",
    "clawstead.instance.ready": "running",
    "clawstead.route.changed": "route active",
}


@dataclass(frozen=True, slots=True)
class Lap:
    """One phase that was reached."""

    phase: str
    at: datetime
    seconds: float
    """Since the phase before."""
    total_seconds: float
    """Since the order was accepted."""


class Progress(Protocol):
    """Whoever watches."""

    def waiting(self, what: str) -> None:
        """Say what is waited for now."""

    def done(self, what: str) -> None:
        """Say that a step is done."""


def laps(created_at: datetime, events: Sequence[Mapping[str, Any]], first_answer: datetime | None) -> list[Lap]:
    """Return when each phase was reached first, in the order of time."""
    marks = {"accepted": created_at}
    for event in events:
        phase = _MARKS.get(event["type"])
        if phase is None or (phase == "route active" and not event.get("active")):
            continue
        marks.setdefault(phase, datetime.fromisoformat(event["time"]))
    if first_answer is not None:
        marks["first 200 through the edge"] = first_answer
    found: list[Lap] = []
    for phase, at in sorted(marks.items(), key=lambda mark: mark[1]):
        before = found[-1].at if found else at
        found.append(Lap(phase, at, (at - before).total_seconds(), (at - created_at).total_seconds()))
    return found


def _judged(instance: Instance) -> bool:
    verdict = instance.health.verdict if instance.health else Verdict.STARTING
    return verdict != Verdict.STARTING and instance.route_active


class Trial:
    """One such life. ``laps``, ``checks`` and ``error`` are true at any moment, also when it is broken off."""

    def __init__(
        self,
        instances: Instances,
        edge: PublicFace,
        progress: Progress,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = f"test-deploy-{new_event_id()[-8:].lower()}"
        self.instance: Instance | None = None
        self.laps: list[Lap] = []
        self.checks: list[Check] = []
        self._instances = instances
        self._edge = edge
        self._progress = progress
        self._pause = sleep

    def run(self, request: Mapping[str, Any], deadline: Deadline) -> None:
        """Create the instance, wait until it serves, and check it.

        Raises:
            CommandError: it was refused, failed, or was not there in time.
        """
        made = self.instance = self._instances.create({"name": self.name, **request})
        first_answer: datetime | None = None
        self._progress.done(f"accepted: {self.name} ({made.id})")
        try:
            order = Order(made.id, RUNNING, made.generation)
            self.instance = wait(self._instances.look, order, deadline, self._moved, sleep=self._sleep) or made
            self._progress.done("it runs")
            first_answer = self._first_answer(self.instance, deadline)
            self._progress.done("it answers through the edge")
            self._await(_judged, min(_JUDGED_SECONDS, deadline.remaining))
            self.checks = inspect(self.instance, self._edge)
        finally:
            began = made.created_at or datetime.now(UTC)
            self.laps = laps(began, self._instances.events(made.id), first_answer)

    def clean_up(self, deadline: Deadline) -> None:
        """Delete the instance, also one whose creation was not answered, and wait until it is gone.

        Raises:
            CommandError: it could not be deleted, or is not gone in time.
        """
        left = [self.instance] if self.instance else self._instances.everyone(name=self.name)
        for instance in left:
            self._progress.waiting(f"stopping and deleting {self.name}")
            ordered = self._instances.delete(instance)
            order = Order(instance.id, DELETED, ordered.generation)
            wait(self._instances.look, order, deadline, self._moved, sleep=self._sleep)
            self._progress.done(f"{self.name} is deleted, and gone")

    def _sleep(self, seconds: float) -> None:
        # Looked at closely, since this is about times.
        self._pause(min(seconds, _POLL_SECONDS))

    def _moved(self, instance: Instance) -> None:
        self._progress.waiting(f"{instance.name}: {instance.now}")

    def _first_answer(self, instance: Instance, deadline: Deadline) -> datetime:
        while True:
            answer = self._edge.get(instance.url, HEALTH_PATH)
            if answer.status == HTTPStatus.OK:
                return datetime.now(UTC)
            said = answer.error or f"status {answer.status}"
            if deadline.passed:
                raise CommandError(f"{instance.url} does not answer with 200 in time: {said}")
            self._progress.waiting(f"{instance.url} to answer: {said}")
            self._sleep(_POLL_SECONDS)

    def _await(self, condition: Callable[[Instance], bool], seconds: float) -> None:
        deadline = Deadline.after(seconds)
        while self.instance and not condition(self.instance) and not deadline.passed:
            self._progress.waiting("the first verdict of the health monitor")
            self._sleep(_POLL_SECONDS)
            self.instance = self._instances.look(self.instance.id)
