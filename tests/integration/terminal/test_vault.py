"""The port ``TicketVault``: the same behaviour in memory and on real buckets."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from clawstead_shared.errors import TransientError
from clawstead_shared.messaging import Bus
from clawstead_shared.streams import KEYS_BUCKET, TICKET_KEY
from clawstead_terminal.adapters.vault import KeyValueVault
from clawstead_terminal.ports import TicketVault
from tests.support.nats_server import NatsServer
from tests.unit.terminal.fakes import FakeVault

Publish = Callable[[bytes], Awaitable[object]]


@pytest.fixture(params=["fake", "nats"])
def vault(request: pytest.FixtureRequest) -> tuple[TicketVault, Publish]:
    if request.param == "fake":
        fake = FakeVault()

        async def publish_fake(pem: bytes) -> None:
            fake.published = pem

        return fake, publish_fake
    bus: Bus = request.getfixturevalue("bus")

    async def publish(pem: bytes) -> None:
        await (await bus.bucket(KEYS_BUCKET)).put(TICKET_KEY, pem)

    return KeyValueVault(bus.bucket), publish


async def test_the_newest_key_is_read(vault: tuple[TicketVault, Publish]) -> None:
    office, publish = vault
    assert await office.key() is None
    for pem in (b"first", b"second"):
        await publish(pem)
        assert await office.key() == pem


async def test_a_ticket_is_spent_once(vault: tuple[TicketVault, Publish]) -> None:
    office, _ = vault
    assert await office.spend("01ARZ3NDEKTSV4RRFFQ69G5FAV")
    assert not await office.spend("01ARZ3NDEKTSV4RRFFQ69G5FAV")
    assert await office.spend("01ARZ3NDEKTSV4RRFFQ69G5FAW")


async def test_of_many_who_spend_one_ticket_one_succeeds(vault: tuple[TicketVault, Publish]) -> None:
    office, _ = vault
    assert sum(await asyncio.gather(*(office.spend("01ARZ3NDEKTSV4RRFFQ69G5FAV") for _ in range(10)))) == 1


async def test_a_bus_that_is_down_spends_nothing_by_guessing(bus: Bus, nats_server: NatsServer) -> None:
    vault = KeyValueVault(bus.bucket)
    assert await vault.spend("01ARZ3NDEKTSV4RRFFQ69G5FAV")
    nats_server.kill()
    with pytest.raises(TransientError):
        await vault.spend("01ARZ3NDEKTSV4RRFFQ69G5FAW")
