"""Tickets as the API makes them."""

import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from ulid import ULID

from clawstead_shared.tickets import ALGORITHM, LIFETIME, Purpose, TicketClaims


class TicketSigner:
    """One signing key."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()

    @property
    def public_pem(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(
        self, instance_id: str, *, age: float = 0, purpose: str | None = Purpose.TERMINAL, **overrides: Any
    ) -> str:
        """Return a ticket made ``age`` seconds ago; ``overrides`` replace raw claims, None leaves one out."""
        iat = int(time.time() - age)
        claims = TicketClaims(
            sub=instance_id,
            owner="owner-1",
            purpose=Purpose.TERMINAL,
            jti=str(ULID()),
            iat=iat,
            exp=iat + int(LIFETIME.total_seconds()),
        )
        payload = {**claims.payload(), "purpose": purpose, **overrides}
        return jwt.encode(
            {name: value for name, value in payload.items() if value is not None}, self.key, algorithm=ALGORITHM
        )
