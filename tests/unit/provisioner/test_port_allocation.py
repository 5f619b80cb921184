"""Ports: stable for an instance's life, never shared, never one that something foreign uses."""

import socket

import pytest

from clawstead_provisioner.errors import ProvisioningError
from clawstead_provisioner.port_allocation import PortTable, candidates, is_free
from clawstead_shared.events import Reason
from clawstead_shared.ids import new_instance_id

ONE, TWO = new_instance_id(), new_instance_id()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def table(
    first: int = 10000, last: int = 10009, taken: frozenset[int] = frozenset(), clock: Clock | None = None
) -> PortTable:
    return PortTable(first, last, lambda port: port not in taken, clock or Clock())


def test_every_port_of_the_range_is_a_candidate_once() -> None:
    assert sorted(candidates(ONE, 10000, 10009)) == list(range(10000, 10010))


def test_an_instance_keeps_its_port() -> None:
    ports = table()
    assert ports.allocate(ONE) == ports.allocate(ONE)


def test_the_first_choice_depends_on_the_id_alone() -> None:
    assert table().allocate(ONE) == table().allocate(ONE) == next(candidates(ONE, 10000, 10009))


def test_no_two_instances_share_a_port_and_the_range_ends() -> None:
    ports = table()
    assert len({ports.allocate(new_instance_id()) for _ in range(10)}) == 10
    with pytest.raises(ProvisioningError) as refused:
        ports.allocate(ONE)
    assert refused.value.reason is Reason.PORTS_EXHAUSTED


def test_a_port_known_from_the_container_is_kept_even_if_it_seems_taken() -> None:
    ports = table(taken=frozenset({10003}))
    ports.hold(ONE, 10003)
    assert ports.allocate(ONE) == 10003


def test_ports_that_something_foreign_uses_are_skipped() -> None:
    first = next(candidates(ONE, 10000, 10009))
    assert table(taken=frozenset({first})).allocate(ONE) != first


def test_a_released_port_is_free_for_others() -> None:
    ports = table(10000, 10000)
    ports.allocate(ONE)
    ports.release(ONE)
    assert ports.allocate(TWO) == 10000


def test_a_port_that_was_left_is_nobodys_until_it_is_let_go() -> None:
    ports = table(10000, 10000)
    assert ports.allocate(ONE) == 10000
    ports.leave(ONE)
    assert (ports.left, ports.held_back) == ([(ONE, 10000)], 1)
    with pytest.raises(ProvisioningError, match="1 of them held back"):
        ports.allocate(TWO)
    ports.let_go(ONE, 10000)
    ports.let_go(ONE, 10000)
    assert (ports.left, ports.held_back) == ([], 0)
    assert ports.allocate(TWO) == 10000


def test_who_left_a_port_may_have_it_again() -> None:
    ports = table(10000, 10000)
    ports.allocate(ONE)
    ports.leave(ONE)
    assert ports.allocate(ONE) == 10000
    assert ports.left == []


def test_the_port_that_an_instance_had_before_is_held_back() -> None:
    ports = table()
    ports.hold(ONE, 10003)
    ports.hold(ONE, 10003)
    assert ports.left == []
    ports.hold(ONE, 10004)
    assert ports.left == [(ONE, 10003)]


def test_who_has_a_port_keeps_it_whoever_else_left_it() -> None:
    ports = table(10000, 10000)
    ports.hold(ONE, 10000)
    ports.hold_back(TWO, 10000)
    assert ports.allocate(ONE) == 10000
    assert ports.held_back == 0
    ports.release(ONE)
    assert ports.held_back == 1


def test_a_barred_port_is_avoided_for_a_while() -> None:
    clock = Clock()
    ports = table(10000, 10001, clock=clock)
    first = ports.allocate(ONE)
    ports.bar(ONE)
    ports.hold(ONE, first)
    second = ports.allocate(ONE)
    assert second != first
    ports.release(ONE)
    clock.now = 601
    ports.hold(ONE, first)
    assert ports.allocate(ONE) == first


def test_a_port_outside_the_range_is_given_up() -> None:
    ports = table()
    ports.hold(ONE, 9000)
    assert 10000 <= ports.allocate(ONE) <= 10009


def test_listening_is_what_makes_a_port_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_free("127.0.0.1", port)
    assert is_free("127.0.0.1", port)
