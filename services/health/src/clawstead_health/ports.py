"""What the monitor needs of the outside world, beside the bus."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from clawstead_health.verdict import ProbeResult
from clawstead_shared.messaging import EventReader, EventSink


class Bus(EventReader, EventSink, Protocol):
    """Observations to read, verdicts to publish."""


@dataclass(frozen=True, slots=True)
class Check:
    """One probe, as the history keeps it."""

    instance_id: str
    customer_id: str
    result: ProbeResult
    checked_at: datetime
    """When the probe ended (UTC)."""


class Gateway(Protocol):
    """The instances' gateways."""

    async def probe(self, host: str, port: int, path: str) -> ProbeResult:
        """Ask one gateway for ``path``. Never raises for what the gateway does; ends within the probe timeout."""
        ...


class History(Protocol):
    """Where probes are remembered."""

    def record(self, check: Check) -> None:
        """Queue one check for storage. Never waits; when storage lags far behind, the oldest queued are dropped."""
        ...
