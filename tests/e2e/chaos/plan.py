"""What happens in a chaos run, and when: made from a seed alone, so that a run can be had again. Pure."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")

SLOTS = 30
RAMP_SECONDS = 15.0
"""In which the first instance of every slot is created."""
_OPERATIONS_PER_SECOND = 1.2
_BLOWS_PER_SECOND = 0.5
_LONGEST_FREEZE_SECONDS = 6.0


class Do(StrEnum):
    """What a customer does."""

    CREATE = "create"
    START = "start"
    STOP = "stop"
    RESTART = "restart"
    CHANGE_PLAN = "change plan"
    UPDATE = "update"
    ROTATE = "rotate token"
    DELETE = "delete"


class Blow(StrEnum):
    """What strikes the platform."""

    KILL = "kill -9"
    FREEZE = "freeze"
    DUPLICATE = "duplicate message"
    STALE = "old message again"
    POISON = "poison message"


class Poison(StrEnum):
    """A message that nobody can handle."""

    NOT_JSON = "not JSON"
    WRONG_SCHEMA = "wrong schema"
    UNKNOWN_TYPE = "unknown type"
    ABOUT_ANOTHER = "about another instance"
    LARGE = "large and not JSON"
    BARE = "no headers"


@dataclass(frozen=True, slots=True)
class Operation:
    """One request of the customer who holds ``slot``, ``at`` seconds after the beginning."""

    at: float
    slot: int
    do: Do
    key: str
    """Its idempotency key."""


@dataclass(frozen=True, slots=True)
class Strike:
    """One fault. What it does not need is empty."""

    at: float
    blow: Blow
    process: str = ""
    seconds: float = 0
    """How long the process is frozen."""
    topic: str = ""
    slot: int = 0
    """Whose message it is."""
    back: int = 0
    """How many messages of the subject lie behind the old one."""
    poison: Poison | None = None
    stranger: bool = False
    """Whether the poison names an instance that nobody knows."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole run."""

    seed: int
    seconds: float
    operations: tuple[Operation, ...]
    strikes: tuple[Strike, ...]


_CHOICES: dict[str, tuple[tuple[Do, int], ...]] = {
    "": ((Do.CREATE, 1),),
    "running": (
        (Do.STOP, 5),
        (Do.RESTART, 3),
        (Do.CHANGE_PLAN, 3),
        (Do.UPDATE, 3),
        (Do.ROTATE, 3),
        (Do.DELETE, 2),
    ),
    "stopped": ((Do.START, 8), (Do.CHANGE_PLAN, 1), (Do.UPDATE, 1), (Do.ROTATE, 1), (Do.DELETE, 1)),
}
_LEADS_TO = {Do.CREATE: "running", Do.START: "running", Do.STOP: "stopped", Do.DELETE: ""}
_BLOWS: tuple[tuple[Blow, int], ...] = (
    (Blow.KILL, 8),
    (Blow.FREEZE, 5),
    (Blow.DUPLICATE, 3),
    (Blow.STALE, 2),
    (Blow.POISON, 3),
)
_TOPICS = ("desired", "observed")


def make_plan(seed: int, seconds: float, processes: Sequence[str]) -> Plan:
    """Plan a run that lasts ``seconds`` after its ramp; the same arguments give the same plan."""
    chance = random.Random(seed)
    state = [""] * SLOTS
    moments = sorted(chance.uniform(0, RAMP_SECONDS) for _ in range(SLOTS))
    operations = [_operation(chance, state, moment, slot) for slot, moment in enumerate(moments)]
    count = round(seconds * _OPERATIONS_PER_SECOND)
    moments = sorted(chance.uniform(RAMP_SECONDS, RAMP_SECONDS + seconds) for _ in range(count))
    operations += [_operation(chance, state, moment, chance.randrange(SLOTS)) for moment in moments]
    begin, end = RAMP_SECONDS / 3, RAMP_SECONDS + seconds
    count = round((end - begin) * _BLOWS_PER_SECOND)
    moments = sorted(chance.uniform(begin, end) for _ in range(count))
    strikes = [_strike(chance, moment, processes) for moment in moments]
    return Plan(seed, seconds, tuple(operations), tuple(strikes))


def _operation(chance: random.Random, state: list[str], moment: float, slot: int) -> Operation:
    do = _chosen(chance, _CHOICES[state[slot]])
    state[slot] = _LEADS_TO.get(do, state[slot])
    return Operation(round(moment, 3), slot, do, f"{chance.getrandbits(64):016x}")


def _chosen(chance: random.Random, weighted: Sequence[tuple[T, int]]) -> T:
    return chance.choices([one for one, _ in weighted], [weight for _, weight in weighted])[0]


def _strike(chance: random.Random, moment: float, processes: Sequence[str]) -> Strike:
    blow = _chosen(chance, _BLOWS)
    at = round(moment, 3)
    if blow is Blow.KILL:
        return Strike(at, blow, chance.choice(processes))
    if blow is Blow.FREEZE:
        return Strike(at, blow, chance.choice(processes), round(chance.uniform(0.5, _LONGEST_FREEZE_SECONDS), 3))
    topic, slot = chance.choice(_TOPICS), chance.randrange(SLOTS)
    if blow is Blow.POISON:
        poison, stranger = chance.choice(list(Poison)), chance.random() < 0.5
        return Strike(at, blow, topic=topic, slot=slot, poison=poison, stranger=stranger)
    back = chance.randint(1, 6) if blow is Blow.STALE else 0
    return Strike(at, blow, topic=topic, slot=slot, back=back)
