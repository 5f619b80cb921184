"""Which events must be there."""

import itertools

import pytest

from clawstead_keeper.gaps import Gap, Gaps

ID = "a"


def wanted(gaps: Gaps, *generations: int, deleted: bool = False) -> None:
    for generation in generations:
        gaps.desired(ID, generation, deleted=deleted)


def messages(gaps: Gaps, now: float = 100.0, grace: float = 0.0) -> list[str]:
    return [gap.message for gap in gaps.found(now, grace=grace)]


@pytest.mark.parametrize(
    "generations",
    [(1, 2, 3), (1, 1, 2, 2, 3), (7, 8, 9), (1, 2, 1, 3), (1, 2, 3, 2, 1)],
    ids=["all", "repeats", "the oldest were evicted", "an old one late", "an old copy again"],
)
def test_what_follows_on_each_other_is_no_gap(generations: tuple[int, ...]) -> None:
    gaps = Gaps()
    wanted(gaps, *generations)
    gaps.observed(ID, max(generations), removed=False)
    assert messages(gaps) == []


@pytest.mark.parametrize(
    ("generations", "message"),
    [
        ((1, 3), "generation 2 is missing in the desired states"),
        ((1, 5), "generations 2 to 4 are missing in the desired states"),
        ((1, 5, 3), "generation 2 is missing in the desired states"),
    ],
)
def test_a_missing_generation_is_named(generations: tuple[int, ...], message: str) -> None:
    gaps = Gaps()
    wanted(gaps, *generations)
    assert messages(gaps)[0] == message


def test_each_gap_is_told_once() -> None:
    gaps = Gaps()
    wanted(gaps, 1, 3)
    assert len(messages(gaps)) == 1
    assert messages(gaps) == []
    wanted(gaps, 5)
    assert messages(gaps) == ["generation 4 is missing in the desired states"]
    assert gaps.open == 2


def test_what_comes_within_the_grace_is_no_gap() -> None:
    gaps = Gaps()
    wanted(gaps, 1, 4)
    gaps.observed(ID, 9, removed=False)
    assert messages(gaps, now=100, grace=10) == []
    wanted(gaps, 3, 2, 5, 6, 7, 8, 9)
    assert messages(gaps, now=200, grace=10) == []
    assert messages(gaps, now=300, grace=10) == []


def test_every_order_of_arrival_ends_well() -> None:
    for order in itertools.permutations(range(2, 7)):
        gaps = Gaps()
        wanted(gaps, 1, *order)
        assert messages(gaps) == [], order


def test_carrying_out_what_nobody_wanted_is_a_gap() -> None:
    gaps = Gaps()
    wanted(gaps, 1)
    gaps.observed(ID, 3, removed=False)
    gaps.observed("b", 2, removed=False)
    assert gaps.found(100, grace=0) == [
        Gap(ID, "generation 3 was carried out, but only generation 1 is in the desired states"),
        Gap("b", "generation 2 was carried out, but nothing is in the desired states"),
    ]
    assert messages(gaps) == []


def test_removed_instances_are_forgotten() -> None:
    gaps = Gaps()
    wanted(gaps, 1, 3)
    gaps.observed(ID, 3, removed=True)
    assert gaps.instances == 0
    assert messages(gaps) == []
    wanted(gaps, 3, deleted=True)
    gaps.observed(ID, 3, removed=True)
    assert gaps.instances == 0


def test_one_instance_never_takes_much() -> None:
    gaps = Gaps()
    wanted(gaps, *range(1, 10_000, 2))
    assert len(messages(gaps)) <= 10
