"""The edge's certificate: what proxy-sync says of it, what is on disk, what is served. Pure."""

from collections.abc import Iterator
from datetime import timedelta

from clawstead_cli.certificate_text import LOCAL, is_late, is_staging
from clawstead_cli.doctor.facts import Facts, Finding, Severity
from clawstead_shared.control import CertificateReport

_RENEWED = timedelta(days=29)
"""proxy-sync renews its own authority's when less than 30 days are left."""
_NEAR_END = timedelta(days=7)
_CHECK = "certificate"
_ABOUT = "the edge's certificate"
_LOGS = "`clawstead logs proxy-sync`"
_UNTRUSTED = "nobody can reach any instance"
_LATE = "it should have been renewed by now; once it ends, browsers refuse every instance"


def certificate_findings(facts: Facts) -> Iterator[Finding]:
    """Judge the certificate that all instances share."""
    report = facts.report.value
    yield from _on_disk(facts)
    if facts.certbot_missing:
        why = "without it the certificate is neither issued nor renewed"
        yield Finding(_CHECK, Severity.CRITICAL, "certbot", "it is not installed", why, "scripts/setup.sh --certbot")
    if report:
        yield from _reported(facts, report)
    staging = report is not None and is_staging(report)
    if facts.served.value and facts.served.value.error is not None and not staging:
        what = f"no trusted one is served: {facts.served.value.error}"
        yield Finding(_CHECK, Severity.CRITICAL, _ABOUT, what, _UNTRUSTED, _LOGS)


def _on_disk(facts: Facts) -> Iterator[Finding]:
    file, served = facts.certificate.value, facts.served.value
    if file is None:
        return
    if (left := file.expires_at - facts.now) < _RENEWED:
        severity = Severity.CRITICAL if left < _NEAR_END else Severity.WARNING
        yield Finding(_CHECK, severity, _ABOUT, f"{max(left.days, 0)} days are left", _LATE, _LOGS)
    if served and served.error is None and served.serial != file.serial:
        what = f"another one is served ({served.serial}) than is on disk ({file.serial})"
        why = "a renewed certificate is not in use, or something else answers on the port"
        todo = f"{_LOGS}; `clawstead down` and `up` serves the one on disk"
        yield Finding(_CHECK, Severity.WARNING, _ABOUT, what, why, todo)


def _reported(facts: Facts, report: CertificateReport) -> Iterator[Finding]:
    if report.not_after and is_late(report, facts.now):
        left = report.not_after - facts.now
        severity = Severity.CRITICAL if left < _NEAR_END else Severity.WARNING
        yield Finding(_CHECK, severity, _ABOUT, f"{max(left.days, 0)} days are left", _LATE, "`clawstead certs renew`")
    if is_staging(report):
        what = "it is of Let's Encrypt's staging"
        todo = "CLAWSTEAD_ACME_DIRECTORY=production, once trials have gone well, and start the platform again"
        yield Finding(_CHECK, Severity.WARNING, _ABOUT, what, "no browser trusts it", todo)
    if report.source != LOCAL and not report.served:
        why = "a renewed certificate is not in use, or something else answers on the port"
        yield Finding(_CHECK, Severity.WARNING, _ABOUT, "it is not what visitors get", why, _LOGS)
    if report.failure:
        what = f"the last attempt failed ({report.failure.reason}): {report.failure.message}"
        why = "the certificate is not issued or not renewed; the one that is served stays until it ends"
        yield Finding(_CHECK, Severity.WARNING, _ABOUT, what, why, report.failure.hint)
