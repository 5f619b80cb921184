"""The local authority: made once, renewed in time, trusted for its own domain only."""

import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clawstead_proxy_sync.adapters import signing
from clawstead_proxy_sync.adapters.local_ca import LocalAuthority

DOMAIN = "claw.localhost"


async def test_the_first_start_makes_an_authority_and_a_wildcard_and_later_ones_keep_them(tmp_path: Path) -> None:
    first = await LocalAuthority(tmp_path, DOMAIN).current()
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert await LocalAuthority(tmp_path, DOMAIN).current() == first
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert first.expires_at > datetime.now(UTC) + timedelta(days=390)


@pytest.mark.parametrize(
    ("name", "trusted"),
    [(DOMAIN, True), (f"blue.{DOMAIN}", True), (f"a.b.{DOMAIN}", False), ("localhost", False), ("evil.test", False)],
)
async def test_the_certificate_is_for_the_domain_and_its_direct_subdomains(
    tmp_path: Path, name: str, trusted: bool
) -> None:
    certificate = await LocalAuthority(tmp_path, DOMAIN).current()
    assert handshakes(certificate.chain, tmp_path / "ca.pem", name) is trusted


async def test_the_authority_cannot_vouch_for_other_names(tmp_path: Path) -> None:
    """Whoever steals the key of an authority that users trust gains no other site."""
    await LocalAuthority(tmp_path, DOMAIN).current()
    authority = signing.load((tmp_path / "ca.pem").read_bytes(), (tmp_path / "ca.key").read_bytes())
    stolen = signing.make_leaf("bank.test", authority)
    (tmp_path / "stolen.pem").write_bytes(stolen.key_pem + stolen.certificate_pem + authority.certificate_pem)
    assert not handshakes(tmp_path / "stolen.pem", tmp_path / "ca.pem", "bank.test")


@pytest.mark.parametrize("days", [29, -1])
async def test_a_certificate_that_ends_soon_is_renewed_by_the_same_authority(tmp_path: Path, days: int) -> None:
    source = LocalAuthority(tmp_path, DOMAIN)
    first = await source.current()
    authority = (tmp_path / "ca.pem").read_bytes()
    facts = json.loads((tmp_path / "site.json").read_text())
    facts["facts"]["not_after"] = (datetime.now(UTC) + timedelta(days=days)).isoformat()
    (tmp_path / "site.json").write_text(json.dumps(facts))
    renewed = await source.current()
    assert renewed.digest != first.digest
    assert (tmp_path / "ca.pem").read_bytes() == authority


async def test_another_domain_gets_another_authority(tmp_path: Path) -> None:
    await LocalAuthority(tmp_path, DOMAIN).current()
    authority = (tmp_path / "ca.pem").read_bytes()
    certificate = await LocalAuthority(tmp_path, "other.test").current()
    assert (tmp_path / "ca.pem").read_bytes() != authority
    assert handshakes(certificate.chain, tmp_path / "ca.pem", "x.other.test")


@pytest.mark.parametrize("name", ["site.pem", "site.json", "ca.pem", "ca.key"])
@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
async def test_lost_or_damaged_files_are_made_anew(tmp_path: Path, name: str, content: bytes | None) -> None:
    source = LocalAuthority(tmp_path, DOMAIN)
    await source.current()
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    certificate = await source.current()
    assert handshakes(certificate.chain, tmp_path / "ca.pem", DOMAIN)


def handshakes(pair: Path, authority: Path, name: str) -> bool:
    """Say whether a client that trusts ``authority`` accepts ``pair`` for ``name``."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(pair)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client = ssl.create_default_context(cafile=str(authority)).wrap_bio(to_client, to_server, server_hostname=name)
    done: set[ssl.SSLObject] = set()
    for _ in range(10):
        for side in (client, server):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                return False
    return len(done) == 2
