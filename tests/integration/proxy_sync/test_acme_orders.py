"""Real certbot, its real plugins, a real ACME server: what is got, and what is told when nothing is."""

import shlex
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from clawstead_proxy_sync.adapters.acme import AcmeSource
from clawstead_proxy_sync.adapters.sources import ordered
from clawstead_proxy_sync.certificates.failures import CertificateError, Reason
from tests.integration.proxy_sync.conftest import make_settings
from tests.support.acme.cloudflare import FakeCloudflare
from tests.support.acme.gate import AcmeGate
from tests.support.acme.rig import CERTBOT, AcmeWorld

DOMAIN, TOKEN = "claw.example", "canary-token-of-the-zone"
NAMES = (DOMAIN, f"*.{DOMAIN}")


@dataclass
class Order:
    """An edge's folder, an authority and a DNS provider that nobody else uses."""

    directory: Path
    world: AcmeWorld
    gate: AcmeGate
    account: FakeCloudflare

    def source(self, **changes: Any) -> AcmeSource:
        """Return the adapter as the settings make it."""
        settings = make_settings(
            self.directory,
            **{
                "domain": DOMAIN,
                "certificates": "cloudflare",
                "acme_directory": self.gate.url,
                "acme_ca_file": self.world.rig.trust.authority,
                "acme_propagation": 0,
                "cloudflare_api_token": TOKEN,
                "cloudflare_api_url": self.account.url,
                "certbot_binary": str(CERTBOT),
                **changes,
            },
        )
        (settings.directory / "tls").mkdir(mode=0o700, parents=True, exist_ok=True)
        source = ordered(settings, settings.directory / "tls").source
        assert isinstance(source, AcmeSource)
        return source

    async def failure(self, source: AcmeSource, **options: bool) -> CertificateError:
        """Return why nothing was got; what was current before still is."""
        before = await source.current()
        with pytest.raises(CertificateError) as failed:
            await source.obtain(**options)
        assert await source.current() == before
        assert TOKEN not in str(failed.value)
        return failed.value


@pytest.fixture
async def order(tmp_path: Path, acme: AcmeWorld) -> Order:
    return Order(tmp_path, acme, await acme.gate(), await acme.cloudflare(DOMAIN, TOKEN))


async def test_a_certificate_is_got_once_kept_and_gone_through_without_a_change(order: Order) -> None:
    source = order.source()
    own = await source.current()
    await source.obtain()
    got = await source.current()
    assert (set(got.facts.names), got.digest != own.digest) == (set(NAMES), True)
    assert "Pebble" in got.facts.issuer
    assert (got.key.stat().st_mode & 0o777, order.gate.orders) == (0o600, 1)
    assert len(order.account.created) == 2, "two values under one name: the domain's and the wildcard's"
    assert order.account.records == {}, "and both were taken back"
    files = [path for path in order.directory.rglob("*") if path.is_file()]
    assert [path.name for path in files if TOKEN in path.read_text(errors="replace")] == ["cloudflare.ini"]
    await source.obtain()
    await source.obtain(issue=True)
    assert (await source.current(), order.gate.orders) == (got, 1), "it is not due"
    await source.obtain(dry_run=True)
    assert (await source.current(), order.gate.orders > 1) == (got, True), "asked for, and thrown away"


async def wrong_token(order: Order) -> None:
    order.account.token = "another"


async def wrong_zone(order: Order) -> None:
    order.account.zones = {"other.example"}


async def provider_down(order: Order) -> None:
    await order.account.stop()


async def authority_down(order: Order) -> None:
    await order.gate.stop()


async def not_visible(order: Order) -> None:
    order.account.publishes = False


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (wrong_token, Reason.BAD_TOKEN),
        (wrong_zone, Reason.WRONG_ZONE),
        (provider_down, Reason.DNS_API_DOWN),
        (authority_down, Reason.CA_DOWN),
        (not_visible, Reason.RECORD_NOT_VISIBLE),
    ],
)
async def test_what_went_wrong_is_told_by_name(
    order: Order, fault: Callable[[Order], Awaitable[None]], reason: Reason
) -> None:
    await fault(order)
    assert (await order.failure(order.source())).reason is reason


async def test_credentials_that_others_may_read_are_refused_before_anybody_is_asked(order: Order) -> None:
    path = order.directory / "dns.ini"
    path.write_text(f"dns_cloudflare_api_token = {TOKEN}\n")
    path.chmod(0o644)
    source = order.source(dns_credentials_file=path, cloudflare_api_token=None)
    assert (await order.failure(source)).reason is Reason.CREDENTIALS_UNSAFE
    assert order.account.requests == []


async def test_a_missing_certbot_says_how_to_install_it(order: Order) -> None:
    failed = await order.failure(order.source(certbot_binary="/nowhere/certbot"))
    assert failed.reason is Reason.CERTBOT_MISSING
    assert "setup.sh --certbot" in failed.told(datetime.now(UTC), None).hint


async def test_what_another_authority_signed_never_takes_the_place_of_the_real_one(
    order: Order, acme: AcmeWorld
) -> None:
    """Staging and production are told apart by their directories: each has a folder of its own."""
    real, trial = order.source(), order.source(acme_directory=(await acme.gate()).url)
    own = await real.current()
    await trial.obtain()
    assert (await trial.current()).digest != own.digest
    assert await real.current() == own


async def test_a_name_server_of_ones_own_is_told_by_key(order: Order, acme: AcmeWorld) -> None:
    bind = acme.rig.bind(DOMAIN)
    gate = await acme.gate(acme.rig.server(dns_port=bind.port))
    path = order.directory / "key.ini"
    path.write_text(bind.credentials())
    path.chmod(0o600)
    source = order.source(certificates="rfc2136", acme_directory=gate.url, dns_credentials_file=path)
    await source.obtain()
    assert set((await source.current()).facts.names) == set(NAMES)
    path.write_text(bind.credentials().replace("acme-update", "unknown-key"))
    assert (await order.failure(source, force=True)).reason is Reason.BAD_TOKEN


async def test_programs_of_ones_own_publish_the_records(order: Order, acme: AcmeWorld) -> None:
    """Both challenges are one name's, so that neither may take the place of the other."""
    name, url = f"_acme-challenge.{DOMAIN}.", shlex.quote(acme.rig.dns.url)
    folder = order.directory / "own programs"
    folder.mkdir()
    for hook, call in (("set", "set-txt"), ("clear", "clear-txt")):
        (folder / hook).write_text(
            f'#!/bin/sh -e\ntest "$CERTBOT_DOMAIN" = {DOMAIN}\n'
            f'curl -sSf {url}/{call} -d \'{{"host":"{name}","value":"\'$CERTBOT_VALIDATION\'"}}\'\n'
        )
        (folder / hook).chmod(0o755)
    hooks = {"acme_auth_hook": folder / "set", "acme_cleanup_hook": folder / "clear"}
    source = order.source(certificates="manual", **hooks)
    await source.obtain()
    assert set((await source.current()).facts.names) == set(NAMES)
    (folder / "set").write_text("#!/bin/sh\necho the DNS provider is away >&2\nexit 1\n")
    assert (await order.failure(source, force=True)).reason is Reason.RECORD_NOT_VISIBLE
