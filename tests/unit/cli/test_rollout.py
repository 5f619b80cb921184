"""The staged update: who comes when, what counts as confirmed, and where it stops."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from clawstead_cli.adapters.api_http import NotThereError, RefusedError
from clawstead_cli.errors import CommandError, UnreachableError
from clawstead_cli.instance import Instance
from clawstead_cli.rollout import Outcome, Result, Rollout, judge, stages

NEW = {"reference": "claw:2", "revision": 1}
OLD = {"reference": "claw:1", "revision": 0}
BAD = {**NEW, "message": "exit 78"}


def instance(name: str = "a", **fields: Any) -> Instance:
    defaults = {
        "id": name,
        "name": name,
        "phase": "running",
        "desired_state": "running",
        "generation": 1,
        "observed_generation": 1,
        "running_image": OLD,
    }
    return Instance.model_validate({**defaults, **fields})


ORDERED = instance(generation=2, image_revision=1)


def seen(**fields: Any) -> Instance:
    return instance(**{"generation": 2, "observed_generation": 2, "image_revision": 1, **fields})


@pytest.mark.parametrize(
    ("now", "outcome"),
    [
        (seen(observed_generation=1, running_image=NEW), None),
        (seen(progress={"step": "pulling", "percent": 40}), None),
        (seen(), None),
        (seen(phase="updating"), None),
        (seen(phase="starting", running_image=NEW), None),
        (seen(phase="running", running_image=NEW, progress={"step": "probation"}), None),
        (seen(running_image=NEW), Outcome.UPDATED),
        (seen(running_image={**NEW, "revision": 2}), Outcome.UPDATED),
        (seen(phase="updating", reason="update_rolled_back", rejected_image=BAD), None),
        (seen(phase="starting", reason="update_rolled_back", rejected_image=BAD), None),
        (seen(reason="update_rolled_back", rejected_image=BAD), Outcome.ROLLED_BACK),
        (seen(running_image=NEW, rejected_image={**BAD, "revision": 0}), Outcome.UPDATED),
        (seen(reason="image_missing", message="no such image"), Outcome.FAILED),
        (seen(phase="failed", reason="crash_loop", message="it died"), Outcome.FAILED),
        (seen(phase="failed", observed_generation=1, reason="crash_loop"), None),
        (seen(desired_state="stopped"), Outcome.AT_NEXT_START),
        (seen(desired_state="deleted"), Outcome.DELETED),
    ],
)
def test_an_update_is_judged_by_what_was_observed(now: Instance, outcome: Outcome | None) -> None:
    result = judge(now, ORDERED)
    assert (result.outcome if result else None) is outcome


def test_a_failure_says_why() -> None:
    result = judge(seen(reason="update_rolled_back", rejected_image=BAD), ORDERED)
    assert result is not None
    assert result.detail == "exit 78"
    result = judge(seen(phase="failed", reason="crash_loop", message="it died"), ORDERED)
    assert result is not None
    assert result.detail == "crash_loop: it died"


def test_one_that_runs_goes_first_and_stopped_ones_last() -> None:
    fleet = [
        instance("a", phase="stopped", desired_state="stopped"),
        instance("b", phase="failed"),
        instance("c", phase="starting"),
        instance("d"),
        instance("e", desired_state="deleted"),
        instance("f"),
        instance("g"),
    ]
    assert [[each.name for each in stage] for stage in stages(fleet, 2)] == [["d"], ["f", "g"], ["c", "b"], ["a"]]


@pytest.mark.parametrize(("count", "batch", "sizes"), [(0, 5, []), (1, 5, [1]), (6, 5, [1, 5]), (12, 5, [1, 5, 5, 1])])
def test_a_canary_comes_before_the_batches(count: int, batch: int, sizes: list[int]) -> None:
    assert [len(stage) for stage in stages([instance(str(number)) for number in range(count)], batch)] == sizes


class FakeFleet:
    """Instances that need two looks to be updated, unless a test says otherwise."""

    def __init__(self, **ends: dict[str, Any] | CommandError) -> None:
        self.ends = ends
        self.asked: list[str] = []
        self.looks: dict[str, int] = {}
        self.refusals: dict[str, list[CommandError]] = {}
        self.most_at_once = 0
        self._under_way: set[str] = set()

    def order(self, instance: Instance) -> Instance:
        if errors := self.refusals.get(instance.name):
            raise errors.pop(0)
        self.asked.append(instance.name)
        self._under_way.add(instance.name)
        self.most_at_once = max(self.most_at_once, len(self._under_way))
        return ORDERED.model_copy(update={"id": instance.id, "name": instance.name})

    def look(self, instance: Instance) -> Instance:
        looks = self.looks[instance.name] = self.looks.get(instance.name, 0) + 1
        if looks < 2:
            return seen(name=instance.name, id=instance.id, phase="updating")
        end = self.ends.get(instance.name, {"running_image": NEW})
        if isinstance(end, CommandError):
            raise end
        self._under_way.discard(instance.name)
        return seen(name=instance.name, id=instance.id, **end)


class Quiet:
    """A watcher that only remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def stage(self, instances: Sequence[Instance], left: int) -> None:
        self.lines.append(f"{len(instances)} now, {left} left")

    def moved(self, instance: Instance) -> None:
        self.lines.append(f"{instance.name} {instance.now}")

    def ended(self, result: Result) -> None:
        self.lines.append(f"{result.instance.name} {result.outcome}")


def rolled_out(
    fleet: FakeFleet, count: int, *, timeout: float = 60, sleep: Callable[[float], None] = lambda _: None
) -> tuple[Rollout, Quiet]:
    watcher = Quiet()
    rollout = Rollout(fleet, watcher, timeout_seconds=timeout, sleep=sleep)
    rollout.run([instance(letter) for letter in "abcdefgh"[:count]], batch=2)
    return rollout, watcher


def outcomes(rollout: Rollout) -> dict[str, str]:
    return {result.instance.name: result.outcome.value for result in rollout.results}


def test_all_are_updated_and_never_more_than_a_batch_at_once() -> None:
    fleet = FakeFleet()
    rollout, watcher = rolled_out(fleet, 4)
    assert rollout.succeeded
    assert set(outcomes(rollout).values()) == {"updated"}
    assert fleet.asked == ["a", "b", "c", "d"]
    assert fleet.most_at_once == 2
    assert watcher.lines[:4] == ["1 now, 3 left", "a updating", "a running", "a updated"]


def test_a_canary_that_is_rolled_back_is_the_only_one_asked() -> None:
    fleet = FakeFleet(a={"reason": "update_rolled_back", "rejected_image": BAD})
    rollout, _ = rolled_out(fleet, 4)
    assert not rollout.succeeded
    assert outcomes(rollout) == {"a": "rolled back", "b": "not tried", "c": "not tried", "d": "not tried"}
    assert fleet.asked == ["a"]


def test_a_failure_in_a_batch_lets_its_others_finish_and_asks_nobody_else() -> None:
    fleet = FakeFleet(b={"phase": "failed", "reason": "crash_loop"})
    rollout, _ = rolled_out(fleet, 4)
    assert outcomes(rollout) == {"a": "updated", "b": "failed", "c": "updated", "d": "not tried"}


def test_one_that_is_not_confirmed_in_time_ends_it() -> None:
    fleet = FakeFleet(a={"phase": "updating"})
    rollout, _ = rolled_out(fleet, 2, timeout=0)
    assert outcomes(rollout) == {"a": "not in time", "b": "not tried"}
    assert rollout.results[0].detail == "updating"


def test_an_api_that_is_away_for_a_while_is_waited_for() -> None:
    fleet = FakeFleet()
    fleet.refusals["a"] = [UnreachableError("away"), UnreachableError("away")]
    rollout, _ = rolled_out(fleet, 1)
    assert outcomes(rollout) == {"a": "updated"}
    away = FakeFleet(a=UnreachableError("away"))
    rollout, _ = rolled_out(away, 1, timeout=0)
    assert outcomes(rollout) == {"a": "not in time"}
    fleet.refusals["a"] = [UnreachableError("away")] * 2
    rollout, _ = rolled_out(fleet, 2, timeout=0)
    assert outcomes(rollout) == {"a": "not confirmed", "b": "not tried"}


def test_what_is_gone_does_not_stop_the_others_but_a_refusal_does() -> None:
    fleet = FakeFleet(b=NotThereError("gone"))
    fleet.refusals = {"a": [NotThereError("gone")], "c": [RefusedError("no")]}
    rollout, _ = rolled_out(fleet, 5)
    assert outcomes(rollout) == {"a": "deleted", "b": "deleted", "c": "refused", "d": "not tried", "e": "not tried"}


def test_a_run_that_is_broken_off_says_what_was_asked() -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    rollout = Rollout(FakeFleet(), Quiet(), timeout_seconds=60, sleep=interrupt)
    with pytest.raises(KeyboardInterrupt):
        rollout.run([instance("a"), instance("b")], batch=2)
    assert outcomes(rollout) == {"a": "not confirmed", "b": "not tried"}
    assert not rollout.succeeded
