"""The certbot adapter with a stand-in that is told what to do: arguments, ends, deadlines, leftovers.

What real certbot does is in ``test_acme_orders.py``.
"""

import asyncio
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import psutil
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from clawstead_proxy_sync.adapters import signing
from clawstead_proxy_sync.adapters.acme import AcmeSource
from clawstead_proxy_sync.adapters.certbot import Certbot
from clawstead_proxy_sync.adapters.local_ca import LocalAuthority
from clawstead_proxy_sync.certificates.failures import CertificateError, Reason
from clawstead_proxy_sync.certificates.order import Command, Order, Source
from tests.support.wait import wait_until

DOMAIN, TOKEN = "claw.example", "canary-token"
# Writes down how it was called, then does what the test says; "got" is what certbot leaves after a success.
STAND_IN = """#!/bin/sh
printf '%s\\n' "$@" > arguments; env > environment; pwd > directory; echo $$ > pid
cut -d ' ' -f 6 /proc/$$/stat > session
. "{folder}/does"
"""
GETS = """
live="$PWD/config/live/claw.example"; mkdir -p "$live" config/renewal
cp "{got}/privkey.pem" "{got}/fullchain.pem" "$live"; cp "{got}/fullchain.pem" "$live/cert.pem"
cp "{got}/fullchain.pem" "$live/chain.pem"
echo "archive_dir = $PWD/config/archive/claw.example" > config/renewal/claw.example.conf
"""
STUBBORN = ["", "trap '' TERM; "]
LOCKS = "import fcntl, sys; f = open(sys.argv[1], 'ab'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
DEPLOYS = 'RENEWED_LINEAGE="$live" ./deploy\n'


class StandIn:
    """A certbot, its folder, and certificates for it to get."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.folder = directory / "tls" / "certbot" / "production"
        self.got = directory / "got"
        self.got.mkdir()
        self.binary = directory / "certbot"
        self.binary.write_text(STAND_IN.format(folder=directory))
        self.binary.chmod(0o755)
        self.local = LocalAuthority(directory / "tls", DOMAIN)
        self.authority = signing.make_authority(DOMAIN)
        self.does("")

    def does(self, script: str) -> None:
        (self.directory / "does").write_text(script.format(got=self.got))

    def issues(self, key_of: signing.Pair | None = None) -> str:
        """Have the next certificate ready; return its serial."""
        leaf = signing.make_leaf(DOMAIN, self.authority)
        (self.got / "privkey.pem").write_bytes((key_of or leaf).key_pem)
        (self.got / "fullchain.pem").write_bytes(leaf.certificate_pem + self.authority.certificate_pem)
        return f"{leaf.certificate.serial_number:x}"

    def source(self, order: Order | None = None, *, token: str | None = TOKEN, **options: Any) -> AcmeSource:
        order = order or Order(DOMAIN, Source.CLOUDFLARE, credentials=self.folder.parent / "cloudflare.ini")
        certbot = Certbot(order, self.folder, **{"binary": str(self.binary), **options})
        return AcmeSource(order, self.folder, self.local, certbot, token=token)

    def wrote(self, name: str) -> str:
        return (self.folder / name).read_text()


@pytest.fixture
def stand_in(tmp_path: Path) -> StandIn:
    return StandIn(tmp_path)


async def failure(source: AcmeSource, **options: bool) -> CertificateError:
    with pytest.raises(CertificateError) as failed:
        await source.obtain(**options)
    return failed.value


async def test_certbot_runs_in_its_folder_with_the_token_in_a_file_of_ours_only(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", TOKEN)
    monkeypatch.setenv("CLAWSTEAD_NATS_URL", "nats://canary@bus")
    await stand_in.source().obtain()
    credentials = stand_in.folder.parent / "cloudflare.ini"
    assert credentials.read_text() == f"dns_cloudflare_api_token = {TOKEN}\n"
    assert [path.stat().st_mode & 0o777 for path in (credentials, stand_in.folder)] == [0o600, 0o700]
    assert stand_in.wrote("arguments").startswith("certonly\n")
    assert stand_in.wrote("directory").strip() == str(stand_in.folder)
    assert int(stand_in.wrote("session")) != os.getsid(0), "what ends us by a terminal or a group must not end it"
    assert "canary" not in stand_in.wrote("arguments") + stand_in.wrote("environment")


async def test_what_it_got_is_served_and_then_renewed(stand_in: StandIn) -> None:
    source = stand_in.source()
    local = await source.current()
    assert local.local
    stand_in.does(GETS + DEPLOYS)
    serial = stand_in.issues()
    await source.obtain()
    got = await source.current()
    assert (got.facts.serial, got.local, got.key.stat().st_mode & 0o777) == (serial, False, 0o600)
    serial = stand_in.issues()
    await source.obtain()
    assert stand_in.wrote("arguments").startswith("renew\n")
    assert (await stand_in.source().current()).facts.serial == serial, "also for the next process"
    await source.obtain(issue=True)
    assert stand_in.wrote("arguments").startswith("certonly\n")


async def test_a_hook_that_was_never_run_is_made_up_for(stand_in: StandIn) -> None:
    """Certbot ends with 0 although its hook failed, and does not run it again."""
    stand_in.does(GETS)
    serial = stand_in.issues()
    source = stand_in.source()
    await source.obtain()
    assert (await source.current()).facts.serial == serial


async def test_a_pair_that_does_not_belong_together_is_never_served(stand_in: StandIn) -> None:
    source = stand_in.source()
    stand_in.does(GETS + DEPLOYS)
    serial = stand_in.issues()
    await source.obtain()
    stand_in.issues(key_of=stand_in.authority)
    assert (await failure(source)).reason is Reason.UNUSABLE
    assert (await source.current()).facts.serial == serial
    assert (await stand_in.source().current()).facts.serial == serial, "nor by the next process"


async def test_a_pair_that_is_older_or_that_tls_does_not_take_is_never_served(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = stand_in.source()
    stand_in.does(GETS + DEPLOYS)
    serial = stand_in.issues()
    await source.obtain()
    with monkeypatch.context() as earlier:
        earlier.setattr(signing, "datetime", Yesterday)
        stand_in.issues()
    assert "older" in str(await failure(source))
    weak = rsa.generate_private_key(65537, 1024)
    with monkeypatch.context() as weaker:
        weaker.setattr("clawstead_proxy_sync.adapters.signing.ec.generate_private_key", lambda _: weak)
        stand_in.issues()
    assert "TLS does not take it" in str(await failure(source))
    assert (await source.current()).facts.serial == serial


class Yesterday(datetime):
    """A clock that is late."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Yesterday":
        return super().now(tz) - timedelta(days=1)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Have another process hold certbot's own lock."""
    with subprocess.Popen([sys.executable, "-c", LOCKS, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        other.stdout.readline()
        yield
        other.communicate(b"\n")


async def test_what_a_busy_certbot_works_at_is_left_alone(stand_in: StandIn) -> None:
    half = stand_in.folder / "config" / "live" / DOMAIN / "privkey.pem"
    half.parent.mkdir(parents=True)
    half.write_text("half")
    with locked(half.parents[2] / ".certbot.lock"):
        await stand_in.source().obtain()
        assert half.exists()
    await stand_in.source().obtain()
    assert not half.exists(), "nobody works at it"


async def test_a_lost_or_damaged_pair_comes_back_from_what_certbot_has(stand_in: StandIn) -> None:
    source = stand_in.source()
    stand_in.does(GETS + DEPLOYS)
    serial = stand_in.issues()
    await source.obtain()
    served = (await source.current()).chain
    for content in (b"", b"nonsense", served.read_bytes()[:300]):
        served.write_bytes(content)
        assert (await source.current()).local
        await source.obtain()
        assert (await source.current()).facts.serial == serial


async def test_a_folder_that_was_moved_orders_anew_and_serves_what_it_has(stand_in: StandIn) -> None:
    stand_in.does(GETS + DEPLOYS)
    serial = stand_in.issues()
    await stand_in.source().obtain()
    moved = stand_in.directory / "moved elsewhere"
    shutil.move(stand_in.folder, moved)
    stand_in.folder = moved
    source = stand_in.source()
    assert (await source.current()).facts.serial == serial
    stand_in.does(f"ls config/live config/renewal > found\n{GETS}{DEPLOYS}")
    serial = stand_in.issues()
    await source.obtain()
    assert (await source.current()).facts.serial == serial
    assert (stand_in.wrote("arguments").split()[0], DOMAIN in stand_in.wrote("found")) == ("certonly", False)


async def test_what_it_leaves_when_it_cannot_begin_is_cleared_away(stand_in: StandIn) -> None:
    stand_in.does("mktemp -d; exit 1")
    for _ in range(2):
        await failure(stand_in.source())
    assert len(list((stand_in.folder / "tmp").iterdir())) == 1


async def test_a_dry_run_takes_nothing_over(stand_in: StandIn) -> None:
    stand_in.does(GETS)
    stand_in.issues()
    source = stand_in.source()
    await source.obtain(dry_run=True)
    assert (await source.current()).local
    assert "--dry-run" in stand_in.wrote("arguments")


@pytest.mark.parametrize(
    ("script", "reason", "message"),
    [
        ("echo 'Another instance of Certbot is already running.' >&2; exit 1", Reason.BUSY, "Another instance"),
        ("echo 'Unable to determine zone_id for x'; exit 1", Reason.WRONG_ZONE, "Unable to determine"),
        ("exit 3", Reason.UNKNOWN, "no reason"),
        ("kill -9 $$", Reason.UNKNOWN, "no reason"),
        ("head -c 3000000 /dev/zero; echo 'Unable to determine zone_id'; exit 1", Reason.WRONG_ZONE, "Unable"),
    ],
)
async def test_its_end_is_understood(stand_in: StandIn, script: str, reason: Reason, message: str) -> None:
    stand_in.does(script)
    failed = await failure(stand_in.source())
    assert failed.reason is reason
    assert message in str(failed)


@pytest.mark.parametrize("stubborn", STUBBORN)
async def test_it_is_ended_with_its_children_at_the_deadline(
    stand_in: StandIn, stubborn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clawstead_proxy_sync.adapters.certbot._GRACE_SECONDS", 0.3)
    stand_in.does(f"{stubborn}sleep 60 & echo $! > child; wait; sleep 60")
    failed = await failure(stand_in.source(deadline=timedelta(seconds=3)))
    assert failed.reason is Reason.TIMED_OUT
    await gone(stand_in, "pid", "child")


@pytest.mark.parametrize("stubborn", STUBBORN)
async def test_a_stop_ends_it_with_its_children(
    stand_in: StandIn, stubborn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clawstead_proxy_sync.adapters.certbot._GRACE_SECONDS", 0.3)
    stand_in.does(f"{stubborn}sleep 60 & echo $! > child; wait; sleep 60")
    task = asyncio.create_task(stand_in.source().obtain())
    await wait_until(lambda: (stand_in.folder / "child").exists() and stand_in.wrote("child").strip())
    task.cancel()
    await asyncio.wait({task}, timeout=5)
    assert task.cancelled()
    await gone(stand_in, "pid", "child")


async def gone(stand_in: StandIn, *files: str) -> None:
    pids = [int(stand_in.wrote(name)) for name in files]
    await wait_until(lambda: not any(psutil.pid_exists(pid) and _runs(pid) for pid in pids), timeout=5)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_what_a_certbot_got_after_its_proxy_sync_died_is_taken_over(stand_in: StandIn) -> None:
    source = stand_in.source()
    stand_in.does(GETS + DEPLOYS)
    serial = stand_in.issues()
    await Certbot(Order(DOMAIN, Source.MANUAL), stand_in.folder, binary=str(stand_in.binary)).run(Command.CERTONLY)
    assert (await source.current()).facts.serial == serial


async def test_a_disk_that_takes_nothing_leaves_what_is_served_and_the_new_one_waits(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes, **_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    stand_in.does(GETS + DEPLOYS)
    serial = stand_in.issues()
    await stand_in.source().obtain()
    newer = stand_in.issues()
    await Certbot(Order(DOMAIN, Source.MANUAL), stand_in.folder, binary=str(stand_in.binary)).run(Command.CERTONLY)
    (stand_in.folder / "served.json").unlink()
    source = stand_in.source()
    with monkeypatch.context() as disk:
        for write in ("write_durably", "write_atomically"):
            disk.setattr(f"clawstead_proxy_sync.adapters.pair_file.{write}", full)
        assert (await source.current()).facts.serial == serial
    assert (await source.current()).facts.serial == newer


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o700, 0o4600])
async def test_credentials_that_are_not_0600_are_refused_before_certbot_runs(stand_in: StandIn, mode: int) -> None:
    path = stand_in.directory / "own.ini"
    path.write_text("x")
    path.chmod(mode)
    source = stand_in.source(Order(DOMAIN, Source.RFC2136, credentials=path), token=None)
    failed = await failure(source)
    assert (failed.reason, f"{mode:04o}" in str(failed)) == (Reason.CREDENTIALS_UNSAFE, True)
    assert not (stand_in.folder / "arguments").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
async def test_credentials_of_another_user_are_refused(stand_in: StandIn) -> None:
    path = stand_in.directory / "own.ini"
    path.write_text("x")
    path.chmod(0o600)
    os.chown(path, 65534, -1)
    source = stand_in.source(Order(DOMAIN, Source.RFC2136, credentials=path), token=None)
    assert (await failure(source)).reason is Reason.CREDENTIALS_UNSAFE


async def test_missing_credentials_and_a_missing_certbot_are_told_apart(stand_in: StandIn) -> None:
    order = Order(DOMAIN, Source.RFC2136, credentials=stand_in.directory / "nowhere.ini")
    assert (await failure(stand_in.source(order, token=None))).reason is Reason.CREDENTIALS_UNSAFE
    assert (await failure(stand_in.source(binary="/nowhere/certbot"))).reason is Reason.CERTBOT_MISSING
    stand_in.binary.write_text("#!/nowhere/sh\n")
    assert (await failure(stand_in.source())).reason is Reason.CERTBOT_MISSING


@pytest.mark.parametrize("which", ["auth", "cleanup"])
async def test_a_hook_that_cannot_be_run_is_told_before_the_authority_is_asked(stand_in: StandIn, which: str) -> None:
    """Certbot would go on to a proof that fails, of which an authority forgives few."""
    hooks = {name: stand_in.directory / f"own {name}" for name in ("auth", "cleanup")}
    for hook in hooks.values():
        hook.write_text("#!/bin/sh\n")
        hook.chmod(0o755)
    source = stand_in.source(Order(DOMAIN, Source.MANUAL, auth_hook=hooks["auth"], cleanup_hook=hooks["cleanup"]))
    hooks[which].chmod(0o644)
    failed = await failure(source)
    assert (failed.reason, str(hooks[which]) in str(failed)) == (Reason.HOOK_UNUSABLE, True)
    hooks[which].rename(stand_in.directory / "elsewhere")
    assert (await failure(source)).reason is Reason.HOOK_UNUSABLE
    hooks[which].mkdir()
    assert (await failure(source)).reason is Reason.HOOK_UNUSABLE
    assert not (stand_in.folder / "arguments").exists()
    hooks[which].rmdir()
    (stand_in.directory / "elsewhere").rename(hooks[which])
    hooks[which].chmod(0o755)
    await source.obtain()
    assert f"'{hooks[which]}'" in stand_in.wrote("arguments")


async def test_a_token_that_others_could_read_is_written_anew(stand_in: StandIn) -> None:
    await stand_in.source().obtain()
    credentials = stand_in.folder.parent / "cloudflare.ini"
    credentials.chmod(0o666)
    await stand_in.source(token="another").obtain()
    assert credentials.read_text() == "dns_cloudflare_api_token = another\n"
    assert credentials.stat().st_mode & 0o777 == 0o600
