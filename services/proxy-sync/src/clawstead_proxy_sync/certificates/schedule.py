"""When certbot is asked again, and what of a certificate's life operators hear. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict

from clawstead_proxy_sync.certificates.failures import LASTING, LONGEST_WAIT, CertificateError, Reason
from clawstead_shared.control import CertificateFailure

RETRIES = (timedelta(minutes=2), timedelta(minutes=10), timedelta(hours=1))
"""After a failure that may pass. Few: an authority allows five failed proofs an hour."""
BUSY_RETRY = timedelta(seconds=30)
BUSY_RETRIES = 12
"""An earlier certbot that is still there ends within five minutes."""
ALERT = timedelta(days=21)

_JITTER = 0.1
_ALERT_SHARE = 21 / 90
_LEVELS = (1.0, 1 / 3, 1 / 21, 0.0)
"""Shares of the alarm time: 21, 7 and 1 days before the end, and at the end."""


class Memory(BaseModel):
    """What must outlive a restart: a process that begins anew would ask the authority again at once."""

    model_config = ConfigDict(frozen=True)

    next_at: AwareDatetime | None = None
    retries: int = 0
    """Failures since the last regular check."""
    failure: CertificateFailure | None = None
    """The last attempt's, None after a success."""
    settings: str | None = None
    """Digest of the settings of the last attempt."""
    succeeded_at: AwareDatetime | None = None
    told: str | None = None
    """Reason of the failure that operators heard of, None after a success."""
    announced: str | None = None
    """Fingerprint of the last certificate that they heard of."""
    warned: tuple[str, int] | None = None
    """Fingerprint of the certificate whose end they heard of, and how near that was."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the next attempt depends on, beside the memory. ``jitter``, from -1 to 1, spreads installations."""

    now: datetime
    settings: str
    interval: timedelta
    jitter: float

    @property
    def regular(self) -> datetime:
        """When the next regular check is."""
        return self.now + self.interval * (1 + _JITTER * self.jitter)


def due(memory: Memory, terms: Terms) -> bool:
    """Say whether certbot is to be asked now. A limit of the authority's holds whatever was changed here."""
    if memory.next_at is None or memory.next_at - terms.now > max(terms.interval * (1 + _JITTER), LONGEST_WAIT):
        # A date so far ahead was written by a clock that was wrong.
        return True
    limited = memory.failure is not None and memory.failure.reason == Reason.RATE_LIMITED
    return terms.now >= memory.next_at or (memory.settings != terms.settings and not limited)


def after_success(memory: Memory, terms: Terms) -> Memory:
    """Return what to remember."""
    return memory.model_copy(
        update={
            "next_at": terms.regular,
            "retries": 0,
            "failure": None,
            "settings": terms.settings,
            "succeeded_at": terms.now,
            "told": None,
        }
    )


def after_failure(memory: Memory, error: CertificateError, terms: Terms) -> Memory:
    """Return what to remember, with the time of the next attempt."""
    pause = _pause(error, memory.retries)
    if pause is not None and pause >= terms.interval:
        pause = None
    if error.retry_at and error.retry_at > terms.now:
        next_at = error.retry_at + timedelta(minutes=1) * abs(terms.jitter)
    else:
        next_at = terms.regular if pause is None else terms.now + pause
    return memory.model_copy(
        update={
            "next_at": next_at,
            "retries": memory.retries + 1 if pause else 0,
            "failure": error.told(terms.now, next_at),
            "settings": terms.settings,
        }
    )


def is_news(memory: Memory) -> bool:
    """Say whether operators are to hear of the failure: once per reason, and of a busy folder when that lasts."""
    failure = memory.failure
    if failure is None or failure.reason == memory.told:
        return False
    return failure.reason != Reason.BUSY or memory.retries == 0


def alarm_level(not_before: datetime, not_after: datetime, now: datetime) -> int | None:
    """Return how near a certificate's end is, greater is nearer; None while nobody need know.

    What lives for less than 90 days is renewed later, so that 21 days would be a false alarm.
    """
    alert = min(ALERT, (not_after - not_before) * _ALERT_SHARE)
    reached = [level for level, share in enumerate(_LEVELS) if not_after - now <= alert * share]
    return reached[-1] if reached else None


def _pause(error: CertificateError, retries: int) -> timedelta | None:
    if error.reason is Reason.BUSY:
        return BUSY_RETRY if retries < BUSY_RETRIES else None
    if error.reason in LASTING or error.reason is Reason.RATE_LIMITED or retries >= len(RETRIES):
        return None
    return RETRIES[retries]
