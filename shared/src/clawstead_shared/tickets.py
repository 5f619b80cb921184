"""The ticket that lets its bearer open one terminal session or one dashboard, once, within a minute.

The API signs it (EdDSA over a JWT); the terminal gateway verifies it with the key the API publishes in the
keys bucket, and spends its ``jti`` by creating that key in the tickets bucket. It travels in the first frame
of a WebSocket, never in a URL that a server could log.
"""

from datetime import timedelta
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict

from clawstead_shared.ids import InstanceId

ISSUER = "clawstead-api"
AUDIENCE = "clawstead-terminal"
ALGORITHM = "EdDSA"
LIFETIME = timedelta(seconds=60)
REQUIRED_CLAIMS = ("iss", "aud", "sub", "owner", "purpose", "jti", "iat", "exp")


class Purpose(StrEnum):
    """What a ticket is good for; a ticket for one purpose is refused for the other."""

    TERMINAL = "terminal"
    DASHBOARD = "dashboard"


class TicketClaims(BaseModel):
    """What a ticket says, beside its issuer and audience. Times are seconds since the epoch, UTC."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    sub: InstanceId
    """The instance."""
    owner: str
    purpose: Purpose
    jti: str
    """A ULID; spent by the first use."""
    iat: int
    exp: int

    def payload(self) -> dict[str, Any]:
        """Return the JWT payload to sign."""
        return {"iss": ISSUER, "aud": AUDIENCE, **self.model_dump(mode="json")}
