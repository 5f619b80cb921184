"""The whole service with a real authority: what visitors are shown, through renewal, a limit and deaths."""

import asyncio
import os
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import websockets
from cryptography import x509

from clawstead_shared.control import CertificateReport, CertificateRequest, Verb
from clawstead_shared.messaging import Bus
from clawstead_shared.messaging.control import ask
from clawstead_shared.notices import Notice, NoticeKind
from clawstead_shared.streams import ADVISORY_STREAM
from clawstead_shared.subjects import NOTICE_ROOT
from tests.support.acme.cloudflare import FakeCloudflare
from tests.support.acme.gate import PROOF, AcmeGate
from tests.support.acme.rig import CERTBOT, AcmeWorld
from tests.support.nats_server import NatsServer
from tests.support.proxy_sync_process import ProxySyncProcess
from tests.support.site import EchoSite, SiteClient
from tests.support.wait import wait_until

DOMAIN, TOKEN = "claw.example", "canary-token-of-the-zone"
LIFE = timedelta(seconds=10)
"""Certbot renews what lives for less than ten days when half of that is left."""


@dataclass
class Edge:
    """A proxy-sync with an authority of its own, and those who look at it."""

    process: ProxySyncProcess
    bus: Bus
    gate: AcmeGate
    account: FakeCloudflare

    async def ask(self, action: Any = "status", **options: bool) -> CertificateReport:
        request = CertificateRequest(action=action, **options)
        client = self.bus.broker.connection
        return await ask(client, "proxy-sync", Verb.CERTIFICATE, request, CertificateReport, timeout=60)

    def shown(self) -> x509.Certificate:
        """Return what a visitor is shown, whom it convinces or not."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection(("127.0.0.1", self.process.https_port), 5) as plain,
            context.wrap_socket(plain, server_hostname=f"shop.{DOMAIN}") as tls,
        ):
            return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b"")

    def shown_by_authority(self) -> x509.Certificate | None:
        """Return what a visitor is shown if the authority signed it."""
        shown = self.shown()
        return shown if "Pebble" in shown.issuer.rfc4514_string() else None

    def issued(self) -> bool:
        """Say whether a visitor is shown one that the authority signed."""
        return self.shown_by_authority() is not None

    async def attempts(self, outcome: str, reason: str = "") -> float:
        """Return how many orders came to that, by the metrics."""
        name = f'clawstead_certificate_attempts_total{{outcome="{outcome}",reason="{reason}"}}'
        return await self.process.metric(name)

    async def days_left(self) -> float:
        return await self.process.metric("clawstead_certificate_days_left")

    async def command(self, *words: str) -> tuple[int, str]:
        """Run ``clawstead certs`` as an operator would; return how it ended and what it said."""
        command = [Path(sys.executable).with_name("clawstead"), "certs", *words]
        # It finds all it needs on the bus; pytest's own folder is longer than its settings allow.
        with tempfile.TemporaryDirectory(prefix="claw-") as short:
            environment = {**os.environ, **self.process.settings, "CLAWSTEAD_DATA_DIR": short}
            run = partial(subprocess.run, command, env=environment, capture_output=True, text=True, timeout=60)
            ended = await asyncio.to_thread(run, check=False)
        return ended.returncode, ended.stdout + ended.stderr

    async def notice(self, kind: NoticeKind) -> Notice:
        """Return the newest."""
        message = await self.bus.jetstream.get_last_msg(ADVISORY_STREAM, f"{NOTICE_ROOT}.{kind}", direct=True)
        return Notice.model_validate_json(message.data or b"")


@asynccontextmanager
async def an_edge(
    directory: Path, nats: NatsServer, bus: Bus, world: AcmeWorld, gate: AcmeGate, **environment: str
) -> AsyncIterator[Edge]:
    account = await world.cloudflare(DOMAIN, TOKEN)
    process = ProxySyncProcess(
        directory,
        nats,
        CLAWSTEAD_DOMAIN=DOMAIN,
        CLAWSTEAD_CERTIFICATES="cloudflare",
        CLAWSTEAD_ACME_DIRECTORY=gate.url,
        CLAWSTEAD_ACME_CA_FILE=str(world.rig.trust.authority),
        CLAWSTEAD_ACME_PROPAGATION="0",
        CLAWSTEAD_CERTBOT_BINARY=str(CERTBOT),
        CLAWSTEAD_CLOUDFLARE_API_URL=account.url,
        CLOUDFLARE_API_TOKEN=TOKEN,
        **environment,
    )
    edge = Edge(process, bus, gate, account)
    try:
        yield edge
    finally:
        process.stop()
        end(working_in(process.directory))
    assert TOKEN not in process.log()


async def test_a_renewed_certificate_is_shown_to_visitors_and_ends_no_connection(
    tmp_path: Path, nats_server: NatsServer, bus: Bus, acme: AcmeWorld, site: EchoSite
) -> None:
    server = acme.rig.server(LIFE)
    root = tmp_path / "root.pem"
    root.write_bytes(await server.root())
    variables = {"CLAWSTEAD_CERTIFICATE_CHECK_INTERVAL": "1", "CLAWSTEAD_TERMINAL_WS_PORT": str(site.port)}
    async with an_edge(tmp_path, nats_server, bus, acme, await acme.gate(server), **variables) as edge:
        edge.process.start()
        await edge.process.ready()
        first = await wait_until(edge.shown_by_authority, timeout=30, what="issued")
        client = SiteClient(root, edge.process.https_port, DOMAIN)
        async with await wait_until(lambda: terminal(client), what="no worker shows the local one") as held:
            await held.recv()
            await wait_until(lambda: edge.shown_by_authority() not in (None, first), timeout=30, what="renewed")
            await held.send("still here")
            assert await held.recv() == "echo still here"
        assert edge.issued()
        assert edge.gate.orders == 2
        assert await wait_until(lambda: edge.attempts("success")) >= 2
        assert -1 < await edge.days_left() < LIFE / timedelta(days=1)
        assert (await edge.notice(NoticeKind.CERTIFICATE_ISSUED)).about == DOMAIN


async def terminal(client: SiteClient) -> websockets.ClientConnection | None:
    """Open a WebSocket; ``None`` while a worker of before answers, which accepts for a moment after a reload."""
    url = f"wss://{DOMAIN}:{client.port}/ws/terminal"
    try:
        return await websockets.connect(url, host="127.0.0.1", port=client.port, ssl=client.tls)
    except ssl.SSLCertVerificationError:
        return None


async def test_a_limit_is_kept_to_over_a_restart_and_by_hand(
    tmp_path: Path, nats_server: NatsServer, bus: Bus, acme: AcmeWorld
) -> None:
    async with an_edge(tmp_path, nats_server, bus, acme, await acme.gate()) as edge:
        until = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=3)
        edge.gate.limited_until = until
        edge.process.start()
        await edge.process.ready()
        await wait_until(lambda: edge.gate.orders, what="asked")
        failure = (await wait_until(lambda: failed(edge), what="told")).failure
        assert failure
        assert (failure.reason, failure.retry_at and failure.retry_at >= until) == ("rate_limited", True)
        assert (await edge.ask("issue")).failure == failure
        assert (await edge.attempts("failure", "rate_limited"), await edge.attempts("success")) == (1, 0)
        assert await edge.days_left() > 390, "the local authority's is served"
        edge.process.kill()
        edge.process.start()
        await edge.process.ready()
        told = await edge.ask("renew")
        assert (told.failure, told.served, edge.gate.orders) == (failure, True, 1)
        assert (await edge.notice(NoticeKind.CERTIFICATE_FAILED)).reason == "rate_limited"
        edge.gate.limited_until = None
        made = await edge.ask("issue", force=True)
        assert (made.failure, made.served, made.changed, edge.issued()) == (None, True, True, True)
        assert int(made.serial or "", 16) == edge.shown().serial_number
        assert await edge.attempts("success") == 1
        assert 89 < await edge.days_left() < 90


async def test_an_operator_issues_one_and_tries_its_renewal_at_the_command_line(
    tmp_path: Path, nats_server: NatsServer, bus: Bus, acme: AcmeWorld
) -> None:
    async with an_edge(tmp_path, nats_server, bus, acme, await acme.gate()) as edge:
        edge.account.token = "another"
        edge.process.start()
        await edge.process.ready()
        await wait_until(lambda: failed(edge), timeout=30, what="the first order failed")
        code, said = await edge.command("issue")
        assert (code, "bad_token" in said, edge.issued()) == (1, True, False), said
        edge.account.token = TOKEN
        code, said = await edge.command("issue")
        assert (code, "A new certificate is here" in said, edge.issued()) == (0, True, True), said
        shown, orders = edge.shown(), edge.gate.orders
        code, said = await edge.command("renew", "--dry-run")
        assert (code, "nothing was changed" in said) == (0, True), said
        assert (edge.shown(), edge.gate.orders) == (shown, orders + 1)
        assert [await edge.attempts(it) for it in ("success", "dry_run")] == [1, 1]
        assert await edge.attempts("failure", "bad_token") == 2


async def failed(edge: Edge) -> CertificateReport | None:
    report = await edge.ask()
    return report if report.failure else None


async def test_an_order_that_was_killed_half_way_is_taken_up_again(
    tmp_path: Path, nats_server: NatsServer, bus: Bus, acme: AcmeWorld
) -> None:
    """First all of it dies; then proxy-sync alone, and what its certbot gets is served through the deploy hook."""
    async with an_edge(tmp_path, nats_server, bus, acme, await acme.gate()) as edge:
        edge.gate.hold(PROOF)
        edge.process.start()
        await asyncio.wait_for(edge.gate.waiting.wait(), 30)
        edge.process.kill()
        end(certbots(edge))
        assert len(edge.account.records) == 2, "nobody took them back"
        edge.gate.let_go()
        edge.gate.hold()
        edge.process.start()
        await asyncio.wait_for(edge.gate.waiting.wait(), 30)
        edge.process.kill()
        edge.process.start()
        await edge.process.ready()
        busy = (await wait_until(lambda: failed(edge), timeout=30, what="busy")).failure
        assert (busy and busy.reason, edge.issued()) == ("busy", False)
        edge.gate.let_go()
        await wait_until(lambda: not certbots(edge), timeout=30, what="certbot ended")
        await wait_until(edge.issued, what="served before anybody orders again")
        failure = (await edge.ask()).failure
        assert (failure and failure.reason, edge.gate.orders) == ("busy", 2), "and nobody did"
        report = await edge.ask("issue")
        assert (report.failure, edge.issued(), edge.gate.orders) == (None, True, 2)


def end(processes: list[psutil.Process]) -> None:
    for process in processes:
        process.kill()
    psutil.wait_procs(processes, 10)


def certbots(edge: Edge) -> list[psutil.Process]:
    """Return certbot and what it runs, for this edge."""
    return working_in(edge.process.directory / "tls" / "certbot")


def working_in(folder: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            inside = Path(process.cwd()).is_relative_to(folder)
            line = process.cmdline()
        except psutil.Error:
            continue
        if inside:
            assert TOKEN not in " ".join(line)
            found.append(process)
    return found
