"""What operators hear of the certificate: metrics always, notices once per fact."""

from datetime import datetime

from prometheus_client import Counter, Gauge

from clawstead_proxy_sync.certificates.failures import HINTS, CertificateError
from clawstead_proxy_sync.certificates.schedule import Memory, alarm_level
from clawstead_proxy_sync.ports import Certificate
from clawstead_shared.messaging.noticeboard import Noticeboard
from clawstead_shared.notices import Notice, NoticeKind

EXPIRES = Gauge("clawstead_certificate_expires_timestamp_seconds", "When the certificate ends, in Unix time")
DAYS_LEFT = Gauge("clawstead_certificate_days_left", "Days until the certificate ends; negative once it has")
SERVED = Gauge("clawstead_certificate_served", "1 if a visitor was just shown the certificate that is stored")
ATTEMPTS = Counter("clawstead_certificate_attempts_total", "Orders of a certificate", ["outcome", "reason"])
SUCCEEDED = Gauge("clawstead_certificate_last_success_timestamp_seconds", "When an order last succeeded, in Unix time")

_DAY_SECONDS = 86400.0


class Bulletin:
    """Tells of the certificate of ``domain``. What was told is in the memory, so that a restart tells nothing again."""

    def __init__(self, domain: str, noticeboard: Noticeboard) -> None:
        self._domain = domain
        self._noticeboard = noticeboard

    def after_look(self, memory: Memory, certificate: Certificate, *, shown: bool, now: datetime) -> Memory:
        """Take in what is served, and return what was told of it now."""
        left = certificate.expires_at - now
        EXPIRES.set(certificate.expires_at.timestamp())
        DAYS_LEFT.set(left.total_seconds() / _DAY_SECONDS)
        SERVED.set(shown)
        if memory.succeeded_at:
            SUCCEEDED.set(memory.succeeded_at.timestamp())
        if shown and memory.announced != certificate.facts.fingerprint:
            memory = self._announce(memory, certificate)
        return self._warn(memory, certificate, now)

    def succeeded(self, *, dry_run: bool, now: datetime) -> None:
        """Count an order that came to a good end."""
        ATTEMPTS.labels("dry_run" if dry_run else "success", "").inc()
        if not dry_run:
            SUCCEEDED.set(now.timestamp())

    def failed(self, error: CertificateError, *, dry_run: bool) -> None:
        """Count an order that failed."""
        ATTEMPTS.labels("dry_run_failure" if dry_run else "failure", error.reason).inc()

    def tell_failure(self, memory: Memory, error: CertificateError) -> Memory:
        """Tell of a failure."""
        self._tell(NoticeKind.CERTIFICATE_FAILED, f"{error}: {HINTS[error.reason]}", error.reason)
        return memory.model_copy(update={"told": error.reason})

    def _announce(self, memory: Memory, certificate: Certificate) -> Memory:
        facts = certificate.facts
        # The first one of the local authority is no news: it comes with every installation.
        if memory.announced is not None or not certificate.local:
            message = f"certificate {facts.serial} of {facts.issuer} is served, valid until {facts.not_after:%Y-%m-%d}"
            self._tell(NoticeKind.CERTIFICATE_ISSUED, message)
        return memory.model_copy(update={"announced": facts.fingerprint})

    def _warn(self, memory: Memory, certificate: Certificate, now: datetime) -> Memory:
        facts = certificate.facts
        level = alarm_level(facts.not_before, facts.not_after, now)
        told = memory.warned[1] if memory.warned and memory.warned[0] == facts.fingerprint else -1
        if level is None or level <= told:
            return memory
        days = (facts.not_after - now).total_seconds() / _DAY_SECONDS
        when = f"ends in {days:.1f} days, at" if days > 0 else "ended at"
        message = f"the certificate {when} {facts.not_after:%Y-%m-%d %H:%M} UTC"
        reason = memory.failure.reason if memory.failure else None
        self._tell(NoticeKind.CERTIFICATE_EXPIRES, message, reason)
        return memory.model_copy(update={"warned": (facts.fingerprint, level)})

    def _tell(self, kind: NoticeKind, message: str, reason: str | None = None) -> None:
        self._noticeboard.tell(Notice(kind=kind, about=self._domain, message=message, reason=reason))
