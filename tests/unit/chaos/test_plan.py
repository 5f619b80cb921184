"""A chaos run is made from its seed, and asks only for what makes sense."""

import pytest

from tests.e2e.chaos.plan import RAMP_SECONDS, SLOTS, Blow, Do, make_plan
from tests.e2e.chaos.report import percentile

PROCESSES = ("api", "nats")


def test_the_same_seed_gives_the_same_plan_and_another_one_another() -> None:
    assert make_plan(7, 60, PROCESSES) == make_plan(7, 60, PROCESSES)
    assert make_plan(7, 60, PROCESSES) != make_plan(8, 60, PROCESSES)


@pytest.mark.parametrize("seed", range(20))
def test_a_slot_is_created_before_anything_else_and_again_after_a_delete(seed: int) -> None:
    alive: set[int] = set()
    running: set[int] = set()
    for operation in make_plan(seed, 300, PROCESSES).operations:
        assert (operation.do is Do.CREATE) is (operation.slot not in alive), operation
        match operation.do:
            case Do.CREATE:
                alive.add(operation.slot)
                running.add(operation.slot)
            case Do.DELETE:
                alive.discard(operation.slot)
                running.discard(operation.slot)
            case Do.START:
                assert operation.slot not in running
                running.add(operation.slot)
            case Do.STOP:
                running.remove(operation.slot)
            case Do.RESTART:
                assert operation.slot in running


def test_everything_comes_in_its_time_and_order_and_all_kinds_come() -> None:
    plan = make_plan(3, 300, PROCESSES)
    for moments in ([one.at for one in plan.operations], [one.at for one in plan.strikes]):
        assert moments == sorted(moments)
        assert moments[-1] <= RAMP_SECONDS + 300
    assert {operation.do for operation in plan.operations} == set(Do)
    assert {strike.blow for strike in plan.strikes} == set(Blow)
    assert {strike.process for strike in plan.strikes} == {"", *PROCESSES}
    assert {operation.slot for operation in plan.operations} == set(range(SLOTS))
    assert len({operation.key for operation in plan.operations}) == len(plan.operations)


def test_a_longer_run_has_more_of_everything() -> None:
    short, long = make_plan(1, 60, PROCESSES), make_plan(1, 600, PROCESSES)
    assert len(long.operations) > 5 * len(short.operations)
    assert len(long.strikes) > 5 * len(short.strikes)


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.99, 99), (1, 100), (0, 1)])
def test_a_percentile_is_a_value_that_was_there(share: float, value: int) -> None:
    assert percentile(list(range(1, 101)), share) == value
