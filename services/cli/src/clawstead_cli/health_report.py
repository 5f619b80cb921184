"""What the health monitor says of instances, judged for an operator's cron line. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from clawstead_cli.instance import DELETED, FAILED, RUNNING, STOPPED, Instance

_MANY_FAILURES = 3
_LONG_DOWN = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Checkup:
    """One instance, judged."""

    id: str
    name: str
    phase: str
    verdict: str
    """``healthy``, ``unhealthy``, ``starting``, ``stopped`` (as wanted) or ``unknown`` (not judged yet)."""
    alert: str | None
    """``critical``: down for over ten minutes; ``warning``: unhealthy, or three failures in a row."""
    since: datetime | None
    failures: int
    response_ms: float | None
    restarts: int
    last_start: datetime | None
    """When the container was last started, by whomever."""
    detail: str

    @property
    def unhealthy(self) -> bool:
        """Whether somebody has to do something."""
        return self.verdict == "unhealthy"


def checkup(instance: Instance, now: datetime, last_start: datetime | None = None) -> Checkup:
    """Judge one instance as of ``now``."""
    health, verdict = instance.health, _verdict(instance)
    return Checkup(
        id=instance.id,
        name=instance.name,
        phase=instance.phase,
        verdict=verdict,
        alert=_alert(instance, verdict, now),
        since=health.since if health else None,
        failures=health.failures if health else 0,
        response_ms=health.response_ms if health else None,
        restarts=instance.restart_count,
        last_start=last_start,
        detail=_detail(instance),
    )


def _verdict(instance: Instance) -> str:
    if instance.phase == FAILED or instance.stalled:
        return "unhealthy"
    if instance.desired_state in {STOPPED, DELETED}:
        return "stopped"
    if instance.phase != RUNNING:
        return "starting"
    return instance.health.verdict if instance.health else "unknown"


def _alert(instance: Instance, verdict: str, now: datetime) -> str | None:
    health = instance.health
    if verdict == "unhealthy":
        down = health is not None and health.verdict != "healthy" and now - health.since > _LONG_DOWN
        return "critical" if down else "warning"
    return "warning" if health and health.failures >= _MANY_FAILURES and verdict != "stopped" else None


def _detail(instance: Instance) -> str:
    if instance.phase == FAILED:
        return f"{instance.reason}: {instance.message}"
    if instance.stalled:
        return instance.stalled_hint or "stalled"
    return (instance.health.error or "") if instance.health else ""
