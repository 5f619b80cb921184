"""Tickets: verified by the API's public key, and spent by their first use."""

from datetime import timedelta

import jwt
from pydantic import ValidationError

from clawstead_shared.tickets import (
    ALGORITHM,
    AUDIENCE,
    ISSUER,
    LIFETIME,
    REQUIRED_CLAIMS,
    Purpose,
    TicketClaims,
)
from clawstead_terminal.errors import TicketRefusedError
from clawstead_terminal.ports import TicketVault

LEEWAY = timedelta(seconds=5)
"""By how much the clocks of the API's host and ours may differ."""


def verify(ticket: str, key_pem: bytes, *, purpose: Purpose) -> TicketClaims:
    """Return what ``ticket`` says, if it is the API's, alive, and made for ``purpose``. It may still be spent.

    Raises:
        TicketRefusedError: it is not.
    """
    try:
        payload = jwt.decode(
            ticket,
            key_pem,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            leeway=LEEWAY,
            options={"require": list(REQUIRED_CLAIMS)},
        )
        claims = TicketClaims.model_validate(payload)
    except jwt.ExpiredSignatureError:
        raise TicketRefusedError("the ticket has expired; ask for a new one") from None
    except (jwt.InvalidTokenError, ValidationError):
        raise TicketRefusedError("the ticket is not valid") from None
    if claims.exp - claims.iat > LIFETIME.total_seconds():
        raise TicketRefusedError("the ticket is not valid")
    if claims.purpose is not purpose:
        raise TicketRefusedError(f"the ticket is not for this: it opens a {claims.purpose}")
    return claims


class TicketOffice:
    """Redeems tickets."""

    def __init__(self, vault: TicketVault) -> None:
        self._vault = vault

    async def redeem(self, ticket: str, purpose: Purpose) -> TicketClaims:
        """Verify ``ticket`` and spend it; exactly one of many who try at once succeeds.

        Raises:
            TicketRefusedError: it is false, expired, for something else, or spent.
            TransientError: the bus did not answer; the ticket may or may not be spent.
        """
        key_pem = await self._vault.key()
        if key_pem is None:
            raise TicketRefusedError("no ticket can be valid: the API has not published its key")
        claims = verify(ticket, key_pem, purpose=purpose)
        if not await self._vault.spend(claims.jti):
            raise TicketRefusedError("the ticket has been used; ask for a new one")
        return claims
