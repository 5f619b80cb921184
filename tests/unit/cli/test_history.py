"""The story of an instance: what caused what, and how long it took."""

import json
from datetime import timedelta
from pathlib import Path

from clawstead_cli.entries import Entry
from clawstead_cli.event_text import chapter
from clawstead_cli.fleet import Fleet, differences
from clawstead_cli.fleet_text import difference_text
from clawstead_cli.history import Chapter, chapter_row, story
from clawstead_shared.events import (
    Desired,
    DesiredState,
    Event,
    EventType,
    Health,
    Payload,
    Phase,
    Route,
    Verdict,
)
from clawstead_shared.messaging.log import Stored
from tests.support.factories import make_desired, make_observed, make_spec, observed_event
from tests.support.golden import assert_golden_text
from tests.support.stored_log import BEGIN, poison, stored

GOLDEN = Path(__file__).parent / "golden"
ID = "01j00000000000000000000000"
FIRST, SECOND, OTHER = "a" * 32, "b" * 32, "c" * 32


class Script:
    """Writes an instance's log, one message after the other."""

    def __init__(self) -> None:
        self.messages: list[Stored] = []

    def write(self, event: Event[Payload], after: float, trace: str | None = None) -> None:
        self.messages.append(stored(event, len(self.messages) + 1, after=after, trace=trace))

    def want(self, generation: int, after: float, trace: str | None = None, **fields: object) -> None:
        type_ = EventType.CREATED if generation == 1 else EventType.RECONFIGURED
        data: Desired = make_desired(ID, generation=generation, actor="ada", request_id=f"r{generation}", **fields)
        self.write(Event(type_, "api", data, time=BEGIN + timedelta(seconds=after - 0.012)), after, trace)

    def observe(self, generation: int, phase: Phase, after: float, trace: str | None = None) -> None:
        self.write(observed_event(make_observed(ID, generation=generation, phase=phase)), after, trace)

    def route(self, generation: int, after: float, trace: str | None = None, *, active: bool = True) -> None:
        data = Route(
            instance_id=ID,
            generation=generation,
            hostname="ada.claw.localhost",
            upstream="127.0.0.1:12345" if active else None,
            active=active,
            map_generation=1,
        )
        self.write(Event(EventType.ROUTE_CHANGED, "proxy-sync", data), after, trace)

    def judge(self, verdict: Verdict, after: float, trace: str | None = None) -> None:
        data = Health(instance_id=ID, verdict=verdict, since=BEGIN, response_ms=4)
        self.write(Event(EventType.VERDICT_CHANGED, "health", data), after, trace)

    def story(self) -> list[Chapter]:
        return story([Entry.of(message) for message in self.messages])


def create_and_change() -> Script:
    script = Script()
    script.want(1, 1, FIRST)
    script.observe(1, Phase.PROVISIONING, 1.02, FIRST)
    script.observe(1, Phase.STARTING, 2, FIRST)
    script.judge(Verdict.STARTING, 2.01, FIRST)
    script.observe(1, Phase.RUNNING, 4, FIRST)
    script.route(1, 4.03, FIRST)
    script.judge(Verdict.HEALTHY, 4.5)
    spec = make_spec(ID, name="ada", plan="pro", limits={"cpus": 2, "memory_bytes": 2**31, "boot_grace_seconds": 90})
    script.want(2, 600, SECOND, spec=spec)
    script.observe(2, Phase.UPDATING, 600.1, SECOND)
    script.messages.append(poison(len(script.messages) + 1, subject=f"clawstead.v1.route.{ID}", after=600.15))
    script.route(2, 600.2, SECOND, active=False)
    script.observe(2, Phase.RUNNING, 602, SECOND)
    script.route(2, 602.02, SECOND)
    script.judge(Verdict.UNHEALTHY, 7200, OTHER)
    return script


def hops(told: Chapter) -> dict[str, float]:
    return {hop.name: round(hop.seconds, 3) for hop in told.hops}


def test_the_story_reads_as_it_should() -> None:
    text = "\n\n".join(str(chapter(told)) for told in create_and_change().story())
    assert_golden_text(GOLDEN / "history.txt", text + "\n")


def test_the_differences_read_as_they_should() -> None:
    messages = create_and_change().messages
    text = "\n".join(str(difference_text(one)) for one in differences(Fleet(messages[:7]), Fleet(messages)))
    assert_golden_text(GOLDEN / "state_diff.txt", text + "\n")


def test_each_leg_counts_from_the_one_before() -> None:
    first, second, _ = create_and_change().story()
    assert hops(first) == {"provisioner": 0.02, "ready": 2.98, "route": 0.03, "verdict": 0.47}
    assert (first.total_seconds, first.complete) == (3.5, True)
    assert hops(second) == {"provisioner": 0.1, "ready": 1.9, "route": 0.02}
    assert not second.complete


def test_without_a_trace_the_generation_tells() -> None:
    script = Script()
    script.want(1, 1)
    script.want(2, 2)
    script.observe(1, Phase.PROVISIONING, 3)
    script.observe(2, Phase.RUNNING, 4)
    assert [len(told.steps) for told in script.story()] == [1, 1]


def test_what_comes_after_the_end_happened_by_itself() -> None:
    script = Script()
    script.want(1, 1, FIRST)
    script.observe(1, Phase.RUNNING, 2, FIRST)
    script.route(1, 3)
    script.judge(Verdict.HEALTHY, 4)
    script.judge(Verdict.UNHEALTHY, 60, OTHER)
    script.observe(1, Phase.RUNNING, 61, OTHER)
    script.observe(1, Phase.RUNNING, 3600, FIRST)
    done, alone = script.story()
    assert (len(done.steps), done.complete) == (4, True)
    assert (alone.cause, len(alone.steps), alone.hops) == (None, 2, [])


def test_what_comes_long_after_did_not_follow() -> None:
    script = Script()
    script.want(1, 1)
    script.observe(1, Phase.FAILED, 2)
    script.judge(Verdict.UNHEALTHY, 3600)
    assert [told.cause is None for told in script.story()] == [False, True]


def test_a_deletion_ends_with_the_removal() -> None:
    script = Script()
    script.want(1, 1, FIRST, desired_state=DesiredState.DELETED)
    script.route(1, 1.5, FIRST, active=False)
    script.observe(1, Phase.REMOVED, 2, FIRST)
    (told,) = script.story()
    assert told.complete
    assert hops(told) == {"route": 0.5, "removed": 0.5}


def test_a_log_whose_beginning_is_gone_still_tells() -> None:
    script = Script()
    script.observe(4, Phase.RUNNING, 1, FIRST)
    script.want(5, 2, SECOND)
    told = script.story()
    assert [one.cause is None for one in told] == [True, False]
    assert told[1].first


def test_poison_alone_is_told_too() -> None:
    (told,) = story([Entry.of(poison(1))])
    assert "poison" in str(chapter(told))
    json.dumps(chapter_row(told))


def test_the_story_is_there_for_programs() -> None:
    row = json.loads(json.dumps([chapter_row(told) for told in create_and_change().story()]))[1]
    assert (row["actor"], row["request_id"], row["generation"]) == ("ada", "r2", 2)
    assert {"field": "spec.plan", "before": "free", "after": "pro"} in row["changes"]
    assert [step["problem"] is None for step in row["steps"]] == [True, False, True, True, True]
