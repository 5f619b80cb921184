"""The local authority: made once, renewed in time, trusted for its own domain only."""

import asyncio
import errno
import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clawstead_proxy_sync.adapters import files, local_ca, signing
from clawstead_proxy_sync.adapters.local_ca import LocalAuthority
from clawstead_proxy_sync.certificates import pair

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
    let_end(tmp_path, days)
    renewed = await source.current()
    assert renewed.digest != first.digest
    assert (tmp_path / "ca.pem").read_bytes() == authority


def let_end(directory: Path, days: int) -> None:
    """Have the certificate noted as one that ends in so many days."""
    facts = json.loads((directory / "site.json").read_text())
    facts["facts"]["not_after"] = (datetime.now(UTC) + timedelta(days=days)).isoformat()
    (directory / "site.json").write_text(json.dumps(facts))


@pytest.fixture
def full_for(monkeypatch: pytest.MonkeyPatch) -> Callable[..., AbstractContextManager[None]]:
    """A disk that has no room for some files, while the block runs."""

    @contextmanager
    def full(*names: str) -> Iterator[None]:
        def attempt(path: Path, content: bytes, **options: int) -> None:
            if path.name in names:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            files.write_atomically(path, content, **options)

        with monkeypatch.context() as patch:
            patch.setattr(local_ca, "write_atomically", attempt)
            yield

    return full


@pytest.mark.parametrize("days", [29, -1])
@pytest.mark.parametrize("name", ["site.pem", "site.json"])
async def test_one_that_cannot_be_renewed_goes_on_and_says_so(
    tmp_path: Path, full_for: Callable[..., AbstractContextManager[None]], name: str, days: int
) -> None:
    """An expired one too: it can be looked at, none cannot."""
    source = LocalAuthority(tmp_path, DOMAIN)
    await source.current()
    let_end(tmp_path, days)
    with full_for(name):
        kept = await source.current()
        assert (kept.overdue, handshakes(kept.chain, tmp_path / "ca.pem", DOMAIN)) == (True, True)
        assert (await LocalAuthority(tmp_path, DOMAIN).current()).overdue, "nor does it hold up a start"
        with pytest.raises(OSError, match="No space left"):
            await source.obtain()
    await source.obtain()
    assert not (await source.current()).overdue


async def test_what_a_lost_authority_signed_goes_on_until_there_is_another(
    tmp_path: Path, full_for: Callable[..., AbstractContextManager[None]]
) -> None:
    source = LocalAuthority(tmp_path, DOMAIN)
    first = await source.current()
    (tmp_path / "ca.pem").unlink()
    with full_for("ca.pem", "ca.key"):
        kept = await source.current()
        assert (kept.facts, kept.overdue) == (first.facts, True)
    assert (await source.current()).facts != first.facts


async def test_without_a_usable_one_a_disk_that_takes_nothing_is_an_error(
    tmp_path: Path, full_for: Callable[..., AbstractContextManager[None]]
) -> None:
    await LocalAuthority(tmp_path, "other.test").current()
    with full_for("ca.pem", "ca.key", "site.pem"), pytest.raises(OSError, match="No space left"):
        await LocalAuthority(tmp_path, DOMAIN).current()


async def test_one_that_is_asked_for_and_looked_at_is_whole(tmp_path: Path) -> None:
    """Both make one when it is due: what is noted must be what is stored."""
    source = LocalAuthority(tmp_path, DOMAIN)
    await asyncio.gather(*(source.obtain(force=True) for _ in range(4)), *(source.current() for _ in range(4)))
    current = await source.current()
    assert current.facts == pair.judge(current.chain.read_bytes(), DOMAIN, now=datetime.now(UTC))


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
