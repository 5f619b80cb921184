"""Sealed secrets: opened by the one key, digested so that nothing shows."""

import base64
import json
import stat
from pathlib import Path

import pytest
from nacl.encoding import Base64Encoder
from nacl.public import PrivateKey, PublicKey, SealedBox

from clawstead_provisioner.errors import ProvisioningError
from clawstead_provisioner.vault import InstanceSecrets, SealingKey
from clawstead_shared.events import Reason


def encrypted(key: SealingKey, text: str) -> bytes:
    return bytes(SealedBox(PublicKey(key.public, Base64Encoder)).encrypt(text.encode()))


def sealed_to(key: SealingKey, **parts: str | None) -> bytes:
    return json.dumps(
        {name: base64.b64encode(encrypted(key, part)).decode() if part else None for name, part in parts.items()}
    ).encode()


def test_the_key_is_made_once_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "own" / "seal.key"
    assert SealingKey.load(path).public == SealingKey.load(path).public
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_each_part_is_opened_alone() -> None:
    key = SealingKey(PrivateKey.generate())
    sealed = sealed_to(key, gateway_token="t", bot_token=None, api_key="k")
    assert key.open(sealed) == InstanceSecrets("t", None, "k")
    assert key.open(sealed_to(key, gateway_token="t")) == InstanceSecrets("t", None, None)


def test_a_part_for_others_is_not_touched() -> None:
    key = SealingKey(PrivateKey.generate())
    parts = json.loads(sealed_to(key, gateway_token="t")) | {"owner_copy": "only the API can open this"}
    assert key.open(json.dumps(parts).encode()) == InstanceSecrets("t", None, None)


def test_what_was_sealed_as_one_is_opened_and_a_part_replaces_its_own() -> None:
    key = SealingKey(PrivateKey.generate())
    together = encrypted(key, json.dumps({"gateway_token": "t", "bot_token": "b", "api_key": "k"}))
    assert key.open(together) == InstanceSecrets("t", "b", "k")
    parts = json.loads(sealed_to(key, gateway_token="new", bot_token=None))
    parts["all"] = base64.b64encode(together).decode()
    assert key.open(json.dumps(parts).encode()) == InstanceSecrets("new", None, "k")


@pytest.mark.parametrize("parts", [{}, {"bot_token": "canary"}, {"gateway_token": None, "api_key": "canary"}])
def test_secrets_without_a_gateway_token_are_refused_without_being_quoted(parts: dict[str, str | None]) -> None:
    key = SealingKey(PrivateKey.generate())
    with pytest.raises(ProvisioningError) as refused:
        key.open(sealed_to(key, **parts))
    assert refused.value.reason is Reason.SECRETS_MISSING
    assert "canary" not in refused.value.message
    assert refused.value.__cause__ is None


@pytest.mark.parametrize(
    "sealed",
    [b"", b"x" * 100, b"[]", b"1", b'{"gateway_token": 1}', b'{"gateway_token": "%%"}', b'{"gateway_token":"eA=="}'],
)
def test_what_cannot_be_opened_is_refused(sealed: bytes) -> None:
    with pytest.raises(ProvisioningError, match="another key"):
        SealingKey(PrivateKey.generate()).open(sealed)


def test_one_part_sealed_to_another_key_is_refused() -> None:
    key, other = SealingKey(PrivateKey.generate()), SealingKey(PrivateKey.generate())
    mixed = {**json.loads(sealed_to(key, gateway_token="t")), **json.loads(sealed_to(other, api_key="k"))}
    with pytest.raises(ProvisioningError, match="another key"):
        key.open(json.dumps(mixed).encode())


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
