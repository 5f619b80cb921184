"""How many tokens one address may try, and who is not held up by it."""

import pytest

from clawstead_api.brake import Brake
from clawstead_api.errors import TooManyFailuresError


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def exhausted(clock: Clock, client: str, per_minute: int = 3) -> Brake:
    brake = Brake(per_minute, clock)
    for _ in range(per_minute + 1):
        brake.check(client, "wrong")
        brake.failed(client)
    return brake


def test_who_tries_too_many_is_told_when_the_next_is_looked_at(clock: Clock) -> None:
    brake = exhausted(clock, "203.0.113.1")
    with pytest.raises(TooManyFailuresError) as refused:
        brake.check("203.0.113.1", "another")
    assert refused.value.headers == {"Retry-After": "20"}
    clock.now += 20
    brake.check("203.0.113.1", "another")
    brake.failed("203.0.113.1")
    with pytest.raises(TooManyFailuresError):
        brake.check("203.0.113.1", "another")


def test_others_are_not_held_up(clock: Clock) -> None:
    brake = exhausted(clock, "203.0.113.1")
    brake.check("203.0.113.2", "wrong")
    with pytest.raises(TooManyFailuresError):
        brake.check("203.0.113.1", "owners")
    brake.succeeded("owners")
    brake.check("203.0.113.1", "owners")


def test_a_network_of_ipv6_is_one_visitor(clock: Clock) -> None:
    brake = exhausted(clock, "2001:db8:1:2::1")
    with pytest.raises(TooManyFailuresError):
        brake.check("2001:db8:1:2:ffff::9", "wrong")
    brake.check("2001:db8:1:3::1", "wrong")


def test_after_a_quiet_while_everything_is_as_before(clock: Clock) -> None:
    brake = exhausted(clock, "a name")
    clock.now += 120
    for _ in range(4):
        brake.check("a name", "wrong")
        brake.failed("a name")


def test_what_is_remembered_is_bounded(clock: Clock) -> None:
    brake = exhausted(clock, "203.0.113.1")
    for number in range(10_000):
        brake.failed(f"visitor {number}")
    brake.check("203.0.113.1", "wrong")
    brake.succeeded("first")
    for number in range(1000):
        brake.succeeded(f"token {number}")
    exhausted_again = "visitor x"
    for _ in range(4):
        brake.failed(exhausted_again)
    brake.check(exhausted_again, "token 999")
    with pytest.raises(TooManyFailuresError):
        brake.check(exhausted_again, "first")


def test_without_a_limit_nobody_is_held_up(clock: Clock) -> None:
    brake = Brake(0, clock)
    for _ in range(1000):
        brake.failed("203.0.113.1")
    brake.check("203.0.113.1", "wrong")
