"""What may be removed that nobody wants, and above all what may not."""

from clawstead_provisioner.orphans import ORPHANS, Orphans

WANTED = {f"wanted-{number}" for number in range(20)}
GRACE = 300.0


class Clock:
    """Time as told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def judge(clock: Clock, most: int = 10) -> Orphans:
    return Orphans(grace_seconds=GRACE, most_at_once=most, clock=clock)


def shown(verdict: str) -> float:
    return float(ORPHANS.labels(verdict)._value.get())


def test_an_orphan_is_announced_and_goes_after_the_grace() -> None:
    clock = Clock()
    orphans = judge(clock)
    held = {*WANTED, "stray"}
    assert orphans.judge(WANTED, held) == []
    assert shown("removable") == 1
    clock.now += GRACE - 1
    assert orphans.judge(WANTED, held) == []
    clock.now += 1
    assert orphans.judge(WANTED, held) == ["stray"]
    assert orphans.judge(WANTED, WANTED) == []
    assert shown("removable") == 0


def test_without_a_grace_it_is_still_announced_once_before() -> None:
    orphans = Orphans(grace_seconds=0, most_at_once=10)
    assert orphans.judge(WANTED, {*WANTED, "stray"}) == []
    assert orphans.judge(WANTED, {*WANTED, "stray"}) == ["stray"]


def test_one_that_is_wanted_again_begins_anew() -> None:
    clock = Clock()
    orphans = judge(clock)
    held = {*WANTED, "late"}
    orphans.judge(WANTED, held)
    clock.now += GRACE
    assert orphans.judge(held, held) == []
    assert orphans.judge(held - {"late"}, held) == [], "its grace begins now"


def test_only_a_few_go_at_once() -> None:
    clock = Clock()
    orphans = judge(clock, most=2)
    strays = {"stray-1", "stray-2", "stray-3"}
    orphans.judge(WANTED, WANTED | strays)
    clock.now += GRACE
    assert orphans.judge(WANTED, WANTED | strays) == ["stray-1", "stray-2"]
    assert orphans.judge(WANTED, {*WANTED, "stray-3"}) == ["stray-3"]


def doubted(orphans: Orphans, clock: Clock, desired: set[str], held: set[str]) -> bool:
    for _ in range(3):
        if orphans.judge(desired, held):
            return False
        clock.now += GRACE
    return shown("kept") == len(held - desired)


def test_an_empty_bus_costs_nobody_a_container() -> None:
    clock = Clock()
    assert doubted(judge(clock), clock, set(), {"one"})


def test_a_bus_that_lost_more_than_a_fifth_costs_nobody_a_container() -> None:
    clock = Clock()
    orphans = judge(clock)
    orphans.judge(WANTED, WANTED)
    lost = set(sorted(WANTED)[:5])
    assert doubted(orphans, clock, WANTED - lost, WANTED)


def test_a_loss_while_no_provisioner_ran_shows_in_what_was_said() -> None:
    clock = Clock()
    orphans = judge(clock)
    orphans.know(WANTED)
    lost = set(sorted(WANTED)[:5])
    assert doubted(orphans, clock, WANTED - lost, WANTED)


def test_small_losses_add_up() -> None:
    clock = Clock()
    orphans, left = judge(clock), sorted(WANTED)
    for _ in range(4):
        left = left[1:]
        orphans.judge(set(left), set(left))
    orphans.judge(WANTED, WANTED)
    assert doubted(orphans, clock, set(left[1:]), WANTED)


def test_more_strangers_than_instances_are_kept() -> None:
    clock = Clock()
    strays = {f"stray-{number}" for number in range(30)}
    assert doubted(judge(clock), clock, WANTED, WANTED | strays)
