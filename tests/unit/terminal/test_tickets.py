"""Who may come in, by what the ticket says."""

import asyncio
from typing import Any

import jwt
import pytest

from clawstead_shared.ids import new_instance_id
from clawstead_shared.tickets import Purpose
from clawstead_terminal.errors import Close, TicketRefusedError
from clawstead_terminal.tickets import TicketOffice, verify
from tests.support.tickets import TicketSigner
from tests.unit.terminal.fakes import FakeVault

INSTANCE = new_instance_id()
SIGNER = TicketSigner()


def test_a_good_ticket_says_who_and_where() -> None:
    claims = verify(SIGNER.sign(INSTANCE), SIGNER.public_pem, purpose=Purpose.TERMINAL)
    assert (claims.sub, claims.owner, claims.purpose) == (INSTANCE, "owner-1", Purpose.TERMINAL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"age": 66}, "expired"),
        ({"age": -30}, "not valid"),
        ({"purpose": Purpose.DASHBOARD}, "not for this"),
        ({"purpose": "root"}, "not valid"),
        ({"aud": "other"}, "not valid"),
        ({"iss": "other"}, "not valid"),
        ({"exp": 4_000_000_000}, "not valid"),
        ({"sub": "../../etc"}, "not valid"),
        ({"sub": INSTANCE + "\n"}, "not valid"),
        *(({claim: None}, "not valid") for claim in ("iss", "aud", "sub", "owner", "purpose", "jti", "iat", "exp")),
    ],
)
def test_a_ticket_that_does_not_fit_is_refused(options: dict[str, Any], message: str) -> None:
    ticket = SIGNER.sign(INSTANCE, **options)
    with pytest.raises(TicketRefusedError, match=message) as refusal:
        verify(ticket, SIGNER.public_pem, purpose=Purpose.TERMINAL)
    assert refusal.value.close is Close.UNAUTHORIZED


def test_a_ticket_of_another_key_is_refused() -> None:
    with pytest.raises(TicketRefusedError):
        verify(TicketSigner().sign(INSTANCE), SIGNER.public_pem, purpose=Purpose.TERMINAL)


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_another_algorithm_is_refused(algorithm: str) -> None:
    payload = jwt.decode(SIGNER.sign(INSTANCE), options={"verify_signature": False})
    key = "" if algorithm == "none" else "k" * 32
    with pytest.raises(TicketRefusedError):
        verify(jwt.encode(payload, key, algorithm=algorithm), SIGNER.public_pem, purpose=Purpose.TERMINAL)


def test_a_changed_ticket_is_refused() -> None:
    head, _, tail = SIGNER.sign(INSTANCE).split(".")
    other = SIGNER.sign(new_instance_id()).split(".")[1]
    with pytest.raises(TicketRefusedError):
        verify(f"{head}.{other}.{tail}", SIGNER.public_pem, purpose=Purpose.TERMINAL)


async def test_of_many_who_redeem_one_ticket_one_succeeds() -> None:
    office = TicketOffice(FakeVault(SIGNER.public_pem))
    ticket = SIGNER.sign(INSTANCE)
    results = await asyncio.gather(*(office.redeem(ticket, Purpose.TERMINAL) for _ in range(5)), return_exceptions=True)
    assert sum(isinstance(result, TicketRefusedError) for result in results) == 4


async def test_a_ticket_for_something_else_is_not_spent() -> None:
    vault = FakeVault(SIGNER.public_pem)
    office = TicketOffice(vault)
    ticket = SIGNER.sign(INSTANCE, purpose=Purpose.DASHBOARD)
    with pytest.raises(TicketRefusedError):
        await office.redeem(ticket, Purpose.TERMINAL)
    assert not vault.spent
    assert await office.redeem(ticket, Purpose.DASHBOARD)


async def test_without_the_apis_key_no_ticket_is_valid() -> None:
    with pytest.raises(TicketRefusedError, match="not published"):
        await TicketOffice(FakeVault()).redeem(SIGNER.sign(INSTANCE), Purpose.TERMINAL)
