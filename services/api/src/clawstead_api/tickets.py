"""Issues tickets: the API's signature under who may open what, for a minute."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from clawstead_api.keyfiles import load_or_make
from clawstead_shared.ids import new_event_id
from clawstead_shared.tickets import ALGORITHM, LIFETIME, Purpose, TicketClaims


@dataclass(frozen=True, slots=True)
class Ticket:
    """A signed ticket and when it stops being good (UTC)."""

    token: str
    expires_at: datetime


class TicketIssuer:
    """Signs tickets with the key in ``key_file``, which it makes if there is none."""

    def __init__(self, key_file: Path) -> None:
        pem = load_or_make(key_file, _new_private_key)
        self._key = serialization.load_pem_private_key(pem, password=None)
        self.public_pem = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        """What verifies the tickets."""

    def issue(self, instance_id: str, owner_id: str, purpose: Purpose) -> Ticket:
        """Return a ticket that is good from now on, once."""
        now = datetime.now(UTC).replace(microsecond=0)
        expires_at = now + LIFETIME
        claims = TicketClaims(
            sub=instance_id,
            owner=owner_id,
            purpose=purpose,
            jti=new_event_id(),
            iat=int(now.timestamp()),
            exp=int(expires_at.timestamp()),
        )
        return Ticket(jwt.encode(claims.payload(), self._key, algorithm=ALGORITHM), expires_at)  # type: ignore[arg-type]


def _new_private_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
