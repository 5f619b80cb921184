"""Secrets: sealed so that only the provisioner can open them, or kept so that only the API can.

What the owner entrusts to the instance (bot token, API key) is sealed to the provisioner's public key at once;
the API cannot open it again. Each is sealed alone, so that one can be replaced without knowing the others. Only
the gateway token is also kept under the API's own key, because its owner may ask to see it again.
"""

import base64
import json
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from nacl.exceptions import CryptoError
from nacl.public import PublicKey, SealedBox
from nacl.secret import SecretBox
from nacl.utils import random

from clawstead_api.keyfiles import load_or_make


class Part(StrEnum):
    """What an instance may be entrusted with."""

    GATEWAY_TOKEN = "gateway_token"  # noqa: S105 - a name
    BOT_TOKEN = "bot_token"  # noqa: S105 - a name
    API_KEY = "api_key"
    OWNER_COPY = "owner_copy"
    """The gateway token under the API's own key, so that a lost database gets it back; of no use to others."""


def seal(secret: str, public_key: bytes) -> str:
    """Seal one secret to the provisioner's Curve25519 ``public_key``."""
    return base64.b64encode(SealedBox(PublicKey(public_key)).encrypt(secret.encode())).decode()


def packed(changes: Mapping[Part, str | None], sealed: bytes = b"{}") -> bytes:
    """Return what the provisioner gets: the sealed parts of before, with ``changes``; None takes a part away."""
    return json.dumps({**json.loads(sealed), **changes}).encode()


def deposited(sealed: bytes, owner_copy: bytes) -> bytes:
    """Return what the bus keeps: the sealed parts, and what only the API can open."""
    return packed({Part.OWNER_COPY: base64.b64encode(owner_copy).decode()}, sealed) if owner_copy else sealed


def withdrawn(deposit: bytes) -> tuple[bytes, bytes]:
    """Return the sealed parts and the owner's copy (empty if there is none) of what the bus keeps.

    Raises:
        ValueError: it is not what ``deposited`` returns.
    """
    parts = dict(json.loads(deposit))
    owner_copy = parts.pop(Part.OWNER_COPY, None) or ""
    return json.dumps(parts).encode(), base64.b64decode(owner_copy, validate=True)


class Vault:
    """Encrypts with the API's own key what the API itself must read again."""

    def __init__(self, key_file: Path) -> None:
        self._key = load_or_make(key_file, lambda: random(SecretBox.KEY_SIZE))
        self._box = SecretBox(self._key)

    @property
    def key(self) -> bytes:
        """The key, for keyed hashes of what a client sent."""
        return self._key

    def lock(self, text: str) -> bytes:
        """Encrypt ``text``."""
        return bytes(self._box.encrypt(text.encode()))

    def unlock(self, locked: bytes) -> str | None:
        """Decrypt what ``lock`` returned; None if it was encrypted with another key."""
        try:
            return self._box.decrypt(locked).decode()
        except (CryptoError, ValueError):
            return None
