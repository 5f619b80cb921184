"""Secrets of instances: the key they are sealed to, opened content, and digests that tell nothing."""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from pathlib import Path

from nacl.encoding import Base64Encoder
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox

from clawstead_provisioner.errors import ProvisioningError
from clawstead_provisioner.files import write_private
from clawstead_shared.events import Reason

_MASK = "[hidden]"
_ALL = "all"
_OURS = frozenset({"gateway_token", "bot_token", "api_key"})
"""What is for us; a part with another name is not, and may not even be sealed to us."""


@dataclass(frozen=True, slots=True)
class InstanceSecrets:
    """What an instance must know and nobody else may."""

    gateway_token: str = field(repr=False)
    bot_token: str | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)

    def masked(self, text: str) -> str:
        """Return ``text`` with every secret replaced."""
        for secret in (self.gateway_token, self.bot_token, self.api_key):
            if secret:
                text = text.replace(secret, _MASK)
        return text


class SealingKey:
    """The key pair that secrets are sealed to."""

    def __init__(self, private: PrivateKey) -> None:
        self._private = private

    @classmethod
    def load(cls, path: Path) -> "SealingKey":
        """Read the key, or make it at the first start."""
        if not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_private(path, bytes(PrivateKey.generate()))
        return cls(PrivateKey(path.read_bytes()))

    @property
    def public(self) -> bytes:
        """The public half, base64."""
        encoded: bytes = self._private.public_key.encode(Base64Encoder)
        return encoded

    def open(self, sealed: bytes) -> InstanceSecrets:
        """Open secrets that were sealed one by one, as JSON of base64.

        Raises:
            ProvisioningError: ``secrets_missing`` when it was sealed to another key or holds no gateway token.
        """
        try:
            content = self._content(sealed)
            return InstanceSecrets(content["gateway_token"], content.get("bot_token"), content.get("api_key"))
        except (CryptoError, ValueError, KeyError, TypeError, AttributeError):
            # Not chained: the error may quote the opened content.
            raise ProvisioningError(
                Reason.SECRETS_MISSING, "the secrets cannot be opened: they were sealed to another key, save them again"
            ) from None

    def _content(self, sealed: bytes) -> dict[str, str]:
        box = SealedBox(self._private)
        try:
            parts = json.loads(sealed)
        except ValueError:
            # Stored before each secret was sealed alone: the JSON of all of them, sealed as one.
            parts = {_ALL: base64.b64encode(sealed)}
        together = parts.pop(_ALL, None)
        content = json.loads(box.decrypt(base64.b64decode(together))) if together else {}
        for name in _OURS & parts.keys():
            part = parts[name]
            content[name] = box.decrypt(base64.b64decode(part)).decode() if part else None
        return {name: secret for name, secret in content.items() if secret}

    def digest(self, secrets: InstanceSecrets) -> str:
        """Return a digest that shows whether secrets changed, and can be neither reversed nor guessed at."""
        content = json.dumps([secrets.gateway_token, secrets.bot_token, secrets.api_key])
        return hmac.new(bytes(self._private), content.encode(), hashlib.sha256).hexdigest()[:32]
