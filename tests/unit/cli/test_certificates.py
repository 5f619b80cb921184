"""What people are told of the edge's certificate, what is a finding, and what keeps ``up`` from starting."""

import socket
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from clawstead_cli import preflight
from clawstead_cli.adapters.edge import Edge, Served
from clawstead_cli.certificate_text import certificate_lines, is_late, problems
from clawstead_cli.doctor.facts import FileFact, Severity
from clawstead_cli.doctor.judge import judge
from clawstead_cli.errors import CommandError, MissingError, UsageError
from clawstead_cli.overview import Part
from clawstead_cli.programs import Service, environment, environment_of
from clawstead_cli.run_record import RunRecord
from clawstead_cli.settings import Settings
from clawstead_shared.control import CertificateFailure, CertificateReport
from tests.unit.cli.test_doctor import FILES, HEALTHY, NOW

STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"
GOOD = CertificateReport(
    source="cloudflare",
    authority="https://acme-v02.api.letsencrypt.org/directory",
    names=("claw.example", "*.claw.example"),
    issuer="R11",
    serial="04AB",
    not_before=NOW - timedelta(days=1),
    not_after=NOW + timedelta(days=89),
    served=True,
    next_check_at=NOW + timedelta(hours=5),
)
FAILURE = CertificateFailure(
    reason="rate_limited",
    message="too many \x1b[31mcertificates",
    hint="use staging for trials",
    at=NOW,
    retry_at=NOW + timedelta(hours=3),
)


def ending_in(left: timedelta, life: timedelta = timedelta(days=90)) -> CertificateReport:
    return GOOD.model_copy(update={"not_before": NOW + left - life, "not_after": NOW + left})


def shown(report: CertificateReport) -> str:
    return "\n".join(line.plain for line in certificate_lines(report, NOW))


def test_everything_that_is_known_is_shown() -> None:
    text = shown(GOOD)
    for expected in ("claw.example, *.claw.example", "R11", "04AB", "89 days left", "Let's Encrypt", "in 5 h"):
        assert expected in text
    assert "staging" not in text


def test_a_failure_is_shown_with_what_to_do_and_without_control_characters() -> None:
    text = shown(GOOD.model_copy(update={"failure": FAILURE, "authority": STAGING}))
    for expected in ("rate_limited", "use staging for trials", "in 3 h", "no browser trusts it"):
        assert expected in text
    assert "\x1b[31m" not in text


def test_without_a_certificate_the_source_is_shown_all_the_same() -> None:
    assert "own authority" in shown(CertificateReport(source="local"))
    assert "until one comes by rfc2136" in shown(CertificateReport(source="rfc2136"))


@pytest.mark.parametrize(
    ("left", "life", "late"),
    [
        (timedelta(days=21), timedelta(days=90), False),
        (timedelta(days=20), timedelta(days=90), True),
        (timedelta(days=20), timedelta(days=397), True),
        # Renewed when a third is left, so that 21 days would alarm before anybody was late.
        (timedelta(days=14), timedelta(days=45), False),
        (timedelta(days=10), timedelta(days=45), True),
        (timedelta(days=3), timedelta(days=6), False),
        (timedelta(days=1), timedelta(days=6), True),
    ],
)
def test_late_is_judged_by_what_the_certificate_lives(left: timedelta, life: timedelta, late: bool) -> None:
    assert is_late(ending_in(left, life), NOW) is late


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (CertificateReport(source="local"), "there is no certificate"),
        (ending_in(timedelta(seconds=-1)), "has expired"),
        (ending_in(timedelta(days=20)), "only 20 days left"),
        (GOOD.model_copy(update={"served": False}), "not what visitors get"),
        (GOOD.model_copy(update={"failure": FAILURE}), "rate_limited"),
    ],
)
def test_what_is_wrong_is_one_sentence(report: CertificateReport, words: str) -> None:
    [problem] = problems(report, NOW)
    assert words in problem


def test_a_good_certificate_has_no_problem() -> None:
    assert problems(GOOD, NOW) == []


ACME = replace(HEALTHY, certificate=Part(), report=Part(GOOD), served=Part(Served(GOOD.not_after, "4AB")))


@pytest.mark.parametrize(
    ("changes", "severity", "words"),
    [
        ({"certbot_missing": True}, Severity.CRITICAL, "setup.sh --certbot"),
        ({"report": Part(ending_in(timedelta(days=20)))}, Severity.WARNING, "certs renew"),
        ({"report": Part(ending_in(timedelta(days=6)))}, Severity.CRITICAL, "certs renew"),
        ({"report": Part(GOOD.model_copy(update={"failure": FAILURE}))}, Severity.WARNING, "use staging for trials"),
        ({"report": Part(GOOD.model_copy(update={"served": False}))}, Severity.WARNING, "logs proxy-sync"),
        ({"served": Part(Served(error="self-signed"))}, Severity.CRITICAL, "logs proxy-sync"),
        (
            {"report": Part(GOOD.model_copy(update={"authority": STAGING})), "served": Part(Served(error="unknown"))},
            Severity.WARNING,
            "ACME_DIRECTORY=production",
        ),
        (
            {"files": Part(replace(FILES, secrets=[FileFact("/etc/clawstead/dns.ini", 0o644, 0)]))},
            Severity.CRITICAL,
            "chmod 600",
        ),
    ],
)
def test_the_doctor_finds_what_is_wrong_with_a_public_certificate(
    changes: dict[str, Any], severity: Severity, words: str
) -> None:
    assert judge(ACME) == []
    [finding] = judge(replace(ACME, **changes))
    assert finding.severity is severity
    assert words in finding.todo


def test_a_domain_without_an_address_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", unknown)
    assert "claw.example has no address" in (Edge(()).certificate("https://claw.example").error or "")


TOKEN = {"CLOUDFLARE_API_TOKEN": "canary"}


def test_the_token_reaches_the_supervisor_and_of_the_programs_only_the_edge(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert environment(settings, TOKEN).items() >= TOKEN.items()
    holders = [service for service in Service if TOKEN.keys() <= environment_of(service, settings, TOKEN).keys()]
    assert holders == [Service.PROXY_SYNC]
    assert "canary" not in RunRecord.of(settings).model_dump_json()


def test_a_file_named_where_the_command_is_run_is_the_same_for_the_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    named = environment(Settings(data_dir=tmp_path), {"CLAWSTEAD_DNS_CREDENTIALS_FILE": "dns.ini"})
    assert named["CLAWSTEAD_DNS_CREDENTIALS_FILE"] == str(tmp_path / "dns.ini")


def test_a_token_is_asked_for_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certbot: str
) -> None:
    monkeypatch.delenv("CLOUDFLARE_API_TOKEN", raising=False)
    settings = Settings(data_dir=tmp_path, domain="claw.example", certificates="cloudflare", certbot_binary=certbot)
    with pytest.raises(UsageError) as refused:
        preflight.require_certificates(settings)
    assert "CLOUDFLARE_API_TOKEN" in (refused.value.hint or "")
    preflight.require_certificates(settings.model_copy(update={"dns_credentials_file": tmp_path / "dns.ini"}))


@pytest.fixture
def certbot(tmp_path: Path) -> str:
    path = tmp_path / "certbot"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("changes", "error", "hint"),
    [
        ({"certbot_binary": "/nowhere/certbot"}, MissingError, "setup.sh --certbot"),
        ({"domain": "claw.localhost"}, UsageError, "CLAWSTEAD_DOMAIN"),
        ({"certificates": "rfc2136"}, UsageError, "CLAWSTEAD_DNS_CREDENTIALS_FILE"),
        ({"certificates": "manual"}, UsageError, "CLAWSTEAD_ACME_AUTH_HOOK"),
    ],
)
def test_what_a_public_certificate_lacks_is_said_before_anything_starts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    certbot: str,
    changes: dict[str, Any],
    error: type[CommandError],
    hint: str,
) -> None:
    monkeypatch.setenv("CLOUDFLARE_API_TOKEN", "canary")
    defaults = {"domain": "claw.example", "certificates": "cloudflare", "certbot_binary": certbot}
    good = Settings(data_dir=tmp_path, **defaults)  # type: ignore[arg-type]  # plain words for choices
    preflight.require_certificates(good)
    with pytest.raises(error) as refused:
        preflight.require_certificates(Settings(data_dir=tmp_path, **{**defaults, **changes}))
    assert hint in (refused.value.hint or "")
    preflight.require_certificates(Settings(data_dir=tmp_path, **{**defaults, **changes, "certificates": "local"}))
