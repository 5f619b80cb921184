"""Pure judgement: observations and probe results in, the standing of one instance out.

starting    a new start of the container, or one is coming
            -> healthy     1 success
            -> unhealthy   3 consecutive failures, the last after the boot grace
healthy     -> unhealthy   3 consecutive failures, the last after the boot grace; -> starting within it
unhealthy   -> healthy     2 consecutive successes
any         -> stopped     it should not run;   -> unhealthy   the provisioner gave it up as failed

Counting before judging keeps one lost packet from raising an alarm, and one lucky answer from ending it.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from clawstead_shared.events import Health, Observed, Phase, Verdict

FAILURES_TO_UNHEALTHY = 3
SUCCESSES_TO_RECOVER = 2

PROBED_PHASES = frozenset({Phase.STARTING, Phase.RUNNING})
_COMING_PHASES = frozenset({Phase.PENDING, Phase.PROVISIONING, Phase.UPDATING})


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What one probe saw. ``error`` is None exactly when the gateway answered well."""

    response_ms: float | None = None
    """Time to the answer, whatever it said; None when there was none."""
    error: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the gateway answered well."""
        return self.error is None


@dataclass(frozen=True, slots=True)
class Start:
    """One start of one container; a restart in place has the same container and another time."""

    container_id: str | None
    started_at: datetime | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one instance. Times are UTC."""

    verdict: Verdict
    since: datetime
    start: Start | None = None
    """The start being judged; None while there is nothing to probe."""
    grace_until: datetime | None = None
    """Before this moment the start is never unhealthy; set together with ``start``."""
    failures: int = 0
    successes: int = 0
    response_ms: float | None = None
    error: str | None = None

    @property
    def container_id(self) -> str | None:
        """The container being judged."""
        return self.start.container_id if self.start else None


def after_observation(previous: Standing | None, observed: Observed, at: datetime) -> Standing:
    """Return the standing once ``observed``, made at ``at``, is known."""
    if observed.phase in PROBED_PHASES:
        start = Start(observed.container_id, observed.started_at)
        if previous is not None and previous.start == start:
            return previous
        grace = timedelta(seconds=observed.boot_grace_seconds)
        fresh = Standing(Verdict.STARTING, at, start=start, grace_until=(observed.started_at or at) + grace)
    elif observed.phase in _COMING_PHASES:
        fresh = Standing(Verdict.STARTING, at)
    elif observed.phase is Phase.FAILED:
        fresh = Standing(Verdict.UNHEALTHY, at, error=_failure(observed))
    else:
        fresh = Standing(Verdict.STOPPED, at)
    return _kept_since(previous, fresh)


def after_probe(standing: Standing, result: ProbeResult, at: datetime) -> Standing:
    """Return the standing once a probe of its start has ended at ``at``."""
    if standing.grace_until is None:
        return standing
    counted = replace(
        standing,
        failures=0 if result.ok else standing.failures + 1,
        successes=standing.successes + 1 if result.ok else 0,
        response_ms=result.response_ms,
        error=result.error,
    )
    verdict = _judged(counted, in_grace=at < standing.grace_until)
    return counted if verdict is standing.verdict else replace(counted, verdict=verdict, since=at)


def after_restart(standing: Standing, published: Health) -> Standing:
    """Continue ``standing``, made of an observation alone, from what was ``published`` before the monitor restarted."""
    if published.verdict is standing.verdict:
        return replace(standing, since=published.since)
    if published.verdict is Verdict.STOPPED or not _is_about(published, standing.start):
        return standing
    return replace(
        standing,
        verdict=published.verdict,
        since=published.since,
        failures=published.failures,
        response_ms=published.response_ms,
        error=published.error,
    )


def _is_about(published: Health, start: Start | None) -> bool:
    if start is None or published.container_id != start.container_id:
        return False
    return start.started_at is None or published.since >= start.started_at


def _judged(standing: Standing, *, in_grace: bool) -> Verdict:
    recovering = standing.verdict is Verdict.UNHEALTHY
    if standing.successes >= (SUCCESSES_TO_RECOVER if recovering else 1):
        return Verdict.HEALTHY
    if standing.failures >= FAILURES_TO_UNHEALTHY:
        return Verdict.STARTING if in_grace else Verdict.UNHEALTHY
    return standing.verdict


def _kept_since(previous: Standing | None, fresh: Standing) -> Standing:
    if previous is None or previous.verdict is not fresh.verdict:
        return fresh
    return replace(fresh, since=previous.since)


def _failure(observed: Observed) -> str:
    reason = observed.reason or "failed"
    return f"{reason}: {observed.message}" if observed.message else str(reason)
