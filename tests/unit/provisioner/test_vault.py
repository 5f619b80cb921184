"""Sealed secrets: opened by the one key, digested so that nothing shows."""

import json
import stat
from pathlib import Path

import pytest
from nacl.encoding import Base64Encoder
from nacl.public import PrivateKey, PublicKey, SealedBox

from clawstead_provisioner.errors import ProvisioningError
from clawstead_provisioner.vault import InstanceSecrets, SealingKey
from clawstead_shared.events import Reason


def sealed_to(key: SealingKey, content: object) -> bytes:
    return bytes(SealedBox(PublicKey(key.public, Base64Encoder)).encrypt(json.dumps(content).encode()))


def test_the_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "own" / "seal.key"
    assert SealingKey.load(path).public == SealingKey.load(path).public
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_was_sealed_is_opened() -> None:
    key = SealingKey(PrivateKey.generate())
    sealed = sealed_to(key, {"gateway_token": "t", "bot_token": None, "api_key": "k"})
    assert key.open(sealed) == InstanceSecrets("t", None, "k")


@pytest.mark.parametrize("content", [{}, [], "x", {"bot_token": "canary"}])
def test_secrets_without_a_gateway_token_are_refused_without_being_quoted(content: object) -> None:
    key = SealingKey(PrivateKey.generate())
    with pytest.raises(ProvisioningError) as refused:
        key.open(sealed_to(key, content))
    assert refused.value.reason is Reason.SECRETS_MISSING
    assert "canary" not in refused.value.message
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("sealed", [b"", b"x" * 100])
def test_what_was_sealed_to_another_key_is_refused(sealed: bytes) -> None:
    with pytest.raises(ProvisioningError, match="another key"):
        SealingKey(PrivateKey.generate()).open(sealed)


def test_digests_tell_secrets_apart_and_depend_on_the_key() -> None:
    one, other = SealingKey(PrivateKey.generate()), SealingKey(PrivateKey.generate())
    secrets = InstanceSecrets("t", "b", None)
    assert one.digest(secrets) == one.digest(InstanceSecrets("t", "b", None))
    assert one.digest(secrets) != one.digest(InstanceSecrets("t", None, "b"))
    assert one.digest(secrets) != other.digest(secrets)


def test_secrets_are_masked_and_not_shown() -> None:
    secrets = InstanceSecrets("tok", "bot", None)
    assert secrets.masked("tok and bot") == "[hidden] and [hidden]"
    assert "tok" not in repr(secrets)
