"""The test instance: timed, checked, and gone whatever happens."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clawstead_cli.adapters.edge import Answer, Served
from clawstead_cli.deadline import Deadline
from clawstead_cli.errors import CommandError, UnreachableError
from clawstead_cli.instances import Instances
from clawstead_cli.trial import Trial, laps
from tests.support.fake_api import FakeApi

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class FakeEdge:
    """Answers with 503 some times first."""

    def __init__(self, closed: int = 0) -> None:
        self.closed = closed

    def certificate(self, url: str) -> Served:
        return Served(datetime.now(UTC) + timedelta(days=90), "AB")

    def get(self, url: str, path: str = "/") -> Answer:
        self.closed -= 1
        return Answer(200 if self.closed < 0 else 503)


class Quiet:
    """Watches without a word."""

    def waiting(self, what: str) -> None: ...

    def done(self, what: str) -> None: ...


def trial(api: FakeApi, edge: FakeEdge | None = None) -> Trial:
    return Trial(Instances(api), edge or FakeEdge(), Quiet(), sleep=lambda _: None)


def event(type_: str, second: float, **data: Any) -> dict[str, Any]:
    return {"type": f"clawstead.{type_}", "time": (BEGAN + timedelta(seconds=second)).isoformat(), **data}


def test_each_phase_is_timed_when_it_was_reached_first() -> None:
    events = [
        event("instance.created", 0),
        event("instance.provisioning_begun", 0.5),
        event("route.changed", 0.6, active=False),
        event("instance.start_begun", 1),
        event("instance.ready", 3),
        event("route.changed", 3.5, active=True),
        event("instance.ready", 9),
    ]
    found = laps(BEGAN, events, BEGAN + timedelta(seconds=4))
    assert [(lap.phase, lap.seconds, lap.total_seconds) for lap in found] == [
        ("accepted", 0, 0),
        ("provisioning", 0.5, 0.5),
        ("starting", 0.5, 1),
        ("running", 2, 3),
        ("route active", 0.5, 3.5),
        ("first 200 through the edge", 0.5, 4),
    ]


def test_an_instance_that_works_is_checked_and_gone_afterwards() -> None:
    api = FakeApi()
    one = trial(api, FakeEdge(closed=3))
    one.run({"plan": "free"}, Deadline.after(60))
    assert one.checks
    assert all(check.good for check in one.checks)
    one.clean_up(Deadline.after(60))
    assert api.instances == {}


def test_one_that_fails_is_gone_afterwards_and_its_times_are_told() -> None:
    api = FakeApi()
    api.fails_with = {"phase": "failed", "reason": "crash_loop", "message": "exit 1"}
    one = trial(api)
    with pytest.raises(CommandError, match="crash_loop"):
        one.run({"plan": "free"}, Deadline.after(60))
    assert [lap.phase for lap in one.laps] == ["accepted"]
    one.clean_up(Deadline.after(60))
    assert api.instances == {}


def test_one_that_never_answers_through_the_edge_is_late() -> None:
    one = trial(FakeApi(), FakeEdge(closed=10**6))
    with pytest.raises(CommandError, match="does not answer with 200 in time"):
        one.run({"plan": "free"}, Deadline.after(0.05))


def test_a_creation_that_was_not_answered_but_taken_is_cleaned_up() -> None:
    api = FakeApi("other")
    one = trial(api)
    api.errors = [UnreachableError("the connection broke")]
    with pytest.raises(UnreachableError):
        one.run({"plan": "free"}, Deadline.after(60))
    Instances(api).create({"name": one.name})
    one.clean_up(Deadline.after(60))
    assert [each["name"] for each in api.instances.values()] == ["other"]
