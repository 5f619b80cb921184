"""Sealing, the vault, tickets and key files."""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jwt
import pytest
from nacl.public import PrivateKey, SealedBox

from clawstead_api.idempotency import once
from clawstead_api.keyfiles import load_or_make
from clawstead_api.sealing import Part, Vault, packed, seal
from clawstead_api.tickets import TicketIssuer
from clawstead_shared.ids import new_instance_id
from clawstead_shared.tickets import ALGORITHM, AUDIENCE, ISSUER, REQUIRED_CLAIMS, Purpose, TicketClaims


def test_only_the_private_key_opens_what_was_sealed() -> None:
    key = PrivateKey.generate()
    sealed = seal("canary", bytes(key.public_key))
    assert SealedBox(key).decrypt(base64.b64decode(sealed)) == b"canary"
    assert sealed != seal("canary", bytes(key.public_key)), "equal secrets must not look equal"


def test_a_part_is_replaced_without_touching_the_others() -> None:
    first = packed({Part.GATEWAY_TOKEN: "g", Part.BOT_TOKEN: "b"})
    assert json.loads(packed({Part.API_KEY: "k"}, first)) == {"gateway_token": "g", "bot_token": "b", "api_key": "k"}
    assert json.loads(packed({Part.BOT_TOKEN: None}, first)) == {"gateway_token": "g", "bot_token": None}


def test_the_vault_opens_its_own_and_nothing_else(tmp_path: Path) -> None:
    locked = Vault(tmp_path / "key").lock("token")
    assert b"token" not in locked
    assert Vault(tmp_path / "key").unlock(locked) == "token"
    assert Vault(tmp_path / "other").unlock(locked) is None


def test_a_key_file_is_made_once_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "key"
    numbers = iter(range(100))
    with ThreadPoolExecutor(8) as pool:
        contents = {*pool.map(lambda _: load_or_make(path, lambda: b"%d" % next(numbers)), range(16))}
    assert len(contents) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [file.name for file in path.parent.iterdir()] == ["key"]


def test_a_ticket_is_verified_with_the_published_key_alone(tmp_path: Path) -> None:
    issuer, instance_id = TicketIssuer(tmp_path / "ticket.key"), new_instance_id()
    ticket = issuer.issue(instance_id, "me", Purpose.TERMINAL)
    claims = jwt.decode(
        ticket.token,
        issuer.public_pem,
        algorithms=[ALGORITHM],
        audience=AUDIENCE,
        issuer=ISSUER,
        options={"require": list(REQUIRED_CLAIMS)},
    )
    parsed = TicketClaims.model_validate(claims)
    assert (parsed.sub, parsed.owner, parsed.purpose) == (instance_id, "me", Purpose.TERMINAL)
    assert parsed.exp == int(ticket.expires_at.timestamp()) == parsed.iat + 60
    assert TicketIssuer(tmp_path / "ticket.key").public_pem == issuer.public_pem, "a restart keeps the key"
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(ticket.token, TicketIssuer(tmp_path / "other").public_pem, algorithms=[ALGORITHM], audience=AUDIENCE)
    other = issuer.issue(instance_id, "me", Purpose.TERMINAL)
    assert jwt.decode(other.token, options={"verify_signature": False})["jti"] != parsed.jti


def test_equal_requests_have_equal_fingerprints_and_secrets_do_not_show() -> None:
    def fingerprint(body: bytes, target: str = "POST /x", secret: bytes = b"s") -> str:
        request = once("me", "key", (target, body), secret)
        assert request is not None
        return request.fingerprint

    assert fingerprint(b'{"a": 1, "b": 2}') == fingerprint(b'{"b":2,"a":1}')
    assert fingerprint(b'{"a": 1}') != fingerprint(b'{"a": 2}')
    assert fingerprint(b"") != fingerprint(b"", target="POST /y")
    assert fingerprint(b'{"a": 1}') != fingerprint(b'{"a": 1}', secret=b"t")
    assert once("me", None, ("POST /x", b""), b"s") is None
