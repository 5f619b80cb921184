"""Secrets: sealed so that only the provisioner can open them, or kept so that only the API can.

What the owner entrusts to the instance (bot token, API key) is sealed to the provisioner's public key at once;
the API cannot open it again. Only the gateway token is also kept under the API's own key, because its owner
may ask to see it again.
"""

import json
from pathlib import Path

from nacl.exceptions import CryptoError
from nacl.public import PublicKey, SealedBox
from nacl.secret import SecretBox
from nacl.utils import random
from pydantic import BaseModel, ConfigDict, SecretStr

from clawstead_api.keyfiles import load_or_make


class InstanceSecrets(BaseModel):
    """The secrets of one instance, in the clear; lives only within one request."""

    model_config = ConfigDict(frozen=True)

    gateway_token: SecretStr
    bot_token: SecretStr | None = None
    api_key: SecretStr | None = None


def seal(secrets: InstanceSecrets, public_key: bytes) -> bytes:
    """Seal ``secrets`` to the provisioner's Curve25519 ``public_key``."""
    clear = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else None
        for name, value in secrets.model_dump().items()
    }
    return bytes(SealedBox(PublicKey(public_key)).encrypt(json.dumps(clear).encode()))


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
        except CryptoError:
            return None
