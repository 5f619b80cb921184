"""The edge's certificate for people: what it is, what is wrong with it, what to do. Pure."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from rich.text import Text

from clawstead_cli.durations import days, duration
from clawstead_cli.instance_tables import plain
from clawstead_shared.control import CertificateFailure, CertificateReport

LOCAL = "local"

_PRODUCTION_URL = "https://acme-v02.api.letsencrypt.org/directory"
_STAGING_URL = "https://acme-staging-v02.api.letsencrypt.org/directory"
_NAME_WIDTH = 12
_LATE = timedelta(days=21)
_LATE_SHARE = 1 / 4
"""Of a certificate's life: short ones are renewed when a third is left, and must not alarm before they are."""


def time_left(report: CertificateReport, now: datetime) -> timedelta | None:
    """Return how long the certificate is still good; None without one."""
    return report.not_after - now if report.not_after else None


def is_late(report: CertificateReport, now: datetime) -> bool:
    """Say whether it should have been renewed by now."""
    left = time_left(report, now)
    if left is None or report.not_after is None or report.not_before is None:
        return False
    return left < min(_LATE, (report.not_after - report.not_before) * _LATE_SHARE)


def is_staging(report: CertificateReport) -> bool:
    """Say whether its authority is one for trials, which no browser trusts."""
    return report.authority == _STAGING_URL


def problems(report: CertificateReport, now: datetime) -> list[str]:
    """Return what is wrong, in an operator's words; nothing if all is well."""
    return list(_problems(report, now))


def _problems(report: CertificateReport, now: datetime) -> Iterator[str]:
    left = time_left(report, now)
    if left is None:
        yield "there is no certificate"
    elif left <= timedelta(0):
        yield "the certificate has expired: browsers refuse every site"
    elif is_late(report, now):
        yield f"only {days(left)} left: it should have been renewed"
    if left is not None and not report.served:
        yield "it is not what visitors get"
    if report.failure:
        yield f"the last attempt failed: {report.failure.reason}"


def certificate_lines(report: CertificateReport, now: datetime) -> Iterator[Text]:
    """Return everything that is known."""
    for name, said in _rows(report, now):
        yield Text.assemble((f"{name:<{_NAME_WIDTH}}", "bold"), said)


def _rows(report: CertificateReport, now: datetime) -> Iterator[tuple[str, Text]]:
    left = time_left(report, now)
    if report.not_after and report.not_before and left is not None:
        life = f"{report.not_before:%Y-%m-%d} to {report.not_after:%Y-%m-%d %H:%M} UTC, "
        style = "red" if is_late(report, now) or left <= timedelta(0) else "green"
        yield "names", plain(", ".join(report.names))
        yield "issuer", plain(report.issuer or "")
        yield "serial", plain(report.serial or "")
        yield "valid", Text.assemble(life, (f"{days(left)} left" if left > timedelta(0) else "expired", style))
        yield "served", Text("yes", "green") if report.served else Text("no", "red")
    yield "source", plain(_source(report))
    if report.next_check_at:
        yield "next check", Text(_moment(report.next_check_at, now))
    if report.failure:
        yield from _failure_rows(report.failure, now)


def _failure_rows(failure: CertificateFailure, now: datetime) -> Iterator[tuple[str, Text]]:
    yield "failed", Text.assemble((failure.reason, "red"), f", {failure.at:%Y-%m-%d %H:%M:%S} UTC")
    yield "", plain(failure.message)
    yield "do", plain(failure.hint)
    if failure.retry_at:
        yield "next try", Text(_moment(failure.retry_at, now))


def _source(report: CertificateReport) -> str:
    if report.authority is None:
        own = "the installation's own authority, whose ca.pem visitors must trust"
        return own if report.source == LOCAL else f"{own}, until one comes by {report.source}"
    known = {_PRODUCTION_URL: "Let's Encrypt", _STAGING_URL: "Let's Encrypt's staging: no browser trusts it"}
    return f"{report.source}, {known.get(report.authority, report.authority)}"


def _moment(at: datetime, now: datetime) -> str:
    away = (at - now).total_seconds()
    return f"{at:%Y-%m-%d %H:%M} UTC, " + (f"in {duration(away)}" if away > 0 else "now")
