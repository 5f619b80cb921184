"""``clawstead certs`` on a real bus, with somebody who answers as proxy-sync would."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from clawstead_shared.control import CertificateFailure, CertificateReport, CertificateRequest, Verb
from clawstead_shared.messaging import Bus
from clawstead_shared.messaging.control import RefusedError
from clawstead_shared.settings import BusSettings
from tests.integration.cli.operator import Operator

NOW = datetime.now(UTC)
GOOD = CertificateReport(
    source="cloudflare",
    authority="https://acme-v02.api.letsencrypt.org/directory",
    names=("claw.example", "*.claw.example"),
    issuer="R11",
    serial="4AB",
    not_before=NOW - timedelta(days=1),
    not_after=NOW + timedelta(days=89, hours=1),
    served=True,
)
FAILURE = CertificateFailure(reason="wrong_zone", message="no such zone", hint="check the token", at=NOW)


class Edge:
    """Says what it was told to say, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[CertificateRequest] = []
        self.report = GOOD
        self.refusal: RefusedError | None = None

    async def answer(self, data: bytes) -> CertificateReport:
        self.asked.append(CertificateRequest.model_validate_json(data))
        if self.refusal:
            raise self.refusal
        return self.report


@pytest.fixture
def edge(operator: Operator) -> Iterator[Edge]:
    edge = Edge()
    bus = Bus("proxy-sync", BusSettings(nats_url=operator.server.url))
    operator.wait(bus.connect())
    bus.control.answer(Verb.CERTIFICATE, edge.answer)
    operator.wait(bus.control.start(bus.broker.connection))
    yield edge
    operator.wait(bus.close())


def test_each_command_asks_for_what_was_typed_and_tells_what_came_of_it(operator: Operator, edge: Edge) -> None:
    told = operator.run("certs", "status")
    assert (told.code, "89 days left" in told.out) == (0, True), told
    kept = operator.run("certs", "issue")
    assert (kept.code, "not due" in kept.out) == (0, True), kept
    edge.report = GOOD.model_copy(update={"changed": True})
    made = operator.run("certs", "renew", "--force")
    assert (made.code, "A new certificate" in made.out) == (0, True), made
    tried = operator.run("certs", "renew", "--dry-run", "--json")
    document = json.loads(tried.out)
    assert (tried.code, document["good"], document["serial"]) == (0, True, "4AB")
    assert 89 < document["days_left"] < 90
    assert edge.asked == [
        CertificateRequest(),
        CertificateRequest(action="issue"),
        CertificateRequest(action="renew", force=True),
        CertificateRequest(action="renew", dry_run=True),
    ]


def test_a_failure_is_told_with_what_to_do_and_a_bad_exit_code(operator: Operator, edge: Edge) -> None:
    edge.report = GOOD.model_copy(update={"failure": FAILURE})
    told = operator.run("certs", "issue")
    assert told.code == 1
    assert "check the token" in told.out
    assert "wrong_zone" in told.error
    assert "not due" not in told.out
    asked = operator.run("certs", "status", "--json")
    assert (asked.code, json.loads(asked.out)["failure"]["reason"]) == (1, "wrong_zone")


def test_a_refusal_and_a_service_that_is_away_are_told_apart(operator: Operator, edge: Edge) -> None:
    edge.refusal = RefusedError("certificates are local", hint="set CLAWSTEAD_CERTIFICATES")
    refused = operator.run("certs", "issue")
    assert refused.code == 1
    assert "set CLAWSTEAD_CERTIFICATES" in refused.error


def test_nobody_answers(operator: Operator) -> None:
    away = operator.run("certs", "status")
    assert (away.code, "proxy-sync does not run" in away.error) == (4, True)
    assert operator.run("certs", "issue", "--timeout", "x").code == 2
