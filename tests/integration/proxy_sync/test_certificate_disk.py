"""The certificate's folder can only be read: what is there is served, what is wrong is told, and it mends by itself."""

from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path

import pytest
from nats.js.errors import NotFoundError

from clawstead_proxy_sync.adapters import signing
from clawstead_shared.control import CertificateReport, CertificateRequest, Verb
from clawstead_shared.messaging import Bus
from clawstead_shared.messaging.control import ask
from clawstead_shared.notices import Notice, NoticeKind
from clawstead_shared.streams import ADVISORY_STREAM
from clawstead_shared.subjects import NOTICE_ROOT
from tests.support.machine import Machine
from tests.support.nats_server import NatsServer
from tests.support.proxy_sync_process import ProxySyncProcess
from tests.support.site import SiteClient
from tests.support.wait import wait_until

DATA = "/srv/data"
TLS = f"{DATA}/proxy-sync/tls"
DOMAIN = "claw.localhost"


@pytest.fixture
def process(tmp_path: Path, bus: Bus, nats_server: NatsServer, machine: Machine) -> Iterator[ProxySyncProcess]:
    """A proxy-sync that was not started yet, with a local authority of its own."""
    process = ProxySyncProcess(tmp_path, nats_server, launcher=machine.inside(), CLAWSTEAD_DATA_DIR=DATA)
    process.directory = machine.path(f"{DATA}/proxy-sync")
    tls = machine.path(TLS)
    tls.mkdir(parents=True)
    authority = signing.make_authority(DOMAIN)
    (tls / "ca.pem").write_bytes(authority.certificate_pem)
    (tls / "ca.key").write_bytes(authority.key_pem)
    machine.run("mount", "--bind", TLS, TLS)
    yield process
    process.kill()


def read_only(machine: Machine, *, on: bool = True) -> None:
    machine.run("mount", "-o", f"remount,bind,{'ro' if on else 'rw'}", TLS)


async def asked(bus: Bus) -> CertificateReport:
    request = CertificateRequest()
    return await ask(bus.broker.connection, "proxy-sync", Verb.CERTIFICATE, request, CertificateReport, timeout=10)


async def failed(bus: Bus) -> CertificateReport | None:
    report = await asked(bus)
    return report if report.failure else None


async def test_one_that_cannot_be_renewed_is_served_and_told_over_a_start_until_it_can(
    tmp_path: Path, bus: Bus, machine: Machine, process: ProxySyncProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = process.directory / "tls"
    authority = signing.load((tls / "ca.pem").read_bytes(), (tls / "ca.key").read_bytes())
    monkeypatch.setattr(signing, "datetime", LongAgo)
    leaf = signing.make_leaf(DOMAIN, authority)
    (tls / "site.pem").write_bytes(leaf.key_pem + leaf.certificate_pem + authority.certificate_pem)
    (tmp_path / "ca.pem").write_bytes(authority.certificate_pem)
    read_only(machine)
    process.start()
    await process.ready()
    async with SiteClient(tmp_path / "ca.pem", process.https_port) as client:
        assert (await client.get("nobody")).status_code == 404
    report = await wait_until(lambda: failed(bus), what="told")
    assert report.failure
    assert (report.failure.reason, report.served) == ("storage", True)
    assert "Read-only file system" in report.failure.message
    assert 19 < await process.metric("clawstead_certificate_days_left") < 20
    for kind in (NoticeKind.CERTIFICATE_FAILED, NoticeKind.CERTIFICATE_EXPIRES):
        await wait_until(partial(is_told, bus, kind), what=kind)
    read_only(machine, on=False)
    await wait_until(lambda: renewed(bus, report), what="renewed, and nothing is wrong any more")
    assert await process.metric("clawstead_certificate_days_left") > 396


class LongAgo(datetime):
    """A clock by which what is made now has 20 of its days left."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "LongAgo":
        return super().now(tz) - signing.LEAF_LIFE + timedelta(days=20)


async def is_told(bus: Bus, kind: NoticeKind) -> bool:
    try:
        message = await bus.jetstream.get_last_msg(ADVISORY_STREAM, f"{NOTICE_ROOT}.{kind}", direct=True)
    except NotFoundError:
        return False
    return Notice.model_validate_json(message.data or b"").about == DOMAIN


async def renewed(bus: Bus, before: CertificateReport) -> bool:
    report = await asked(bus)
    return report.served and report.serial != before.serial and report.failure is None


async def test_a_start_without_one_waits_says_why_and_goes_on(
    bus: Bus, machine: Machine, process: ProxySyncProcess
) -> None:
    read_only(machine)
    process.start()
    why = await wait_until(lambda: waits(process, "there is no certificate"), what="says so")
    assert "Read-only file system" in why
    assert "remount,rw" in why
    read_only(machine, on=False)
    await process.ready()


async def waits(process: ProxySyncProcess, words: str) -> str | None:
    why: str = (await process.waiting()).get("edge", "")
    return why if words in why else None
