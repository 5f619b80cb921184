"""Topic ``health``, written by the health monitor, on change only."""

from enum import StrEnum

from pydantic import AwareDatetime, Field

from clawstead_shared.events.payload import Payload, Record


class Verdict(StrEnum):
    """What the probes say of an instance, after hysteresis."""

    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    STOPPED = "stopped"


class RestartWanted(Record):
    """A restart that the monitor asks for, naming the container start it judged."""

    container_id: str
    started_at: AwareDatetime
    attempt: int = Field(ge=1)


class Health(Payload):
    """The verdict on one instance."""

    verdict: Verdict
    since: AwareDatetime
    container_id: str | None = None
    failures: int = Field(default=0, ge=0)
    """Consecutive failed probes."""
    response_ms: float | None = Field(default=None, ge=0)
    error: str | None = None
    restart_wanted: RestartWanted | None = None
