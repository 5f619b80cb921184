"""The platform at a glance: processes, instances, the bus, the outbox. Each part is read by itself, or says why not."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from clawstead_cli.adapters.metrics import metrics
from clawstead_cli.bus_state import BusState, look
from clawstead_cli.deadline import Deadline
from clawstead_cli.errors import CommandError
from clawstead_cli.instance import DELETED
from clawstead_cli.instances import Instances
from clawstead_cli.platform import Platform, Status
from clawstead_cli.programs import Service
from clawstead_cli.settings import Settings

T = TypeVar("T")

_BUS_SECONDS = 3.0

OLDEST = "clawstead_outbox_oldest_seconds"
PENDING = "clawstead_outbox_pending"
QUARANTINED = "clawstead_outbox_quarantined_rows"
EXPIRES = "clawstead_certificate_expires_timestamp_seconds"
DAYS_LEFT = "clawstead_certificate_days_left"
SERVED = "clawstead_certificate_served"


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """What one part said, or why it could not be read."""

    value: T | None = None
    unread: str | None = None

    @classmethod
    def of(cls, read: Callable[[], T]) -> "Part[T]":
        """Read it."""
        try:
            return cls(read())
        except CommandError as error:
            return cls(unread=f"{error}" + (f"; {error.hint}" if error.hint else ""))


@dataclass(frozen=True, slots=True)
class Fleet:
    """How many instances are where."""

    by_phase: dict[str, int]
    stalled: int = 0
    unhealthy: int = 0


@dataclass(frozen=True, slots=True)
class Outbox:
    """What the API has accepted and the bus has not taken yet."""

    pending: int
    oldest_seconds: float | None
    """None from an API that does not tell it."""
    quarantined: int
    """Rows that the bus can never take."""


@dataclass(frozen=True, slots=True)
class SiteCertificate:
    """The edge's certificate."""

    days_left: float | None
    """None until the edge has looked; negative once it has expired."""
    served: bool


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything at one moment."""

    processes: Status
    fleet: Part[Fleet]
    bus: Part[BusState]
    outbox: Part[Outbox]
    certificate: Part[SiteCertificate]


class Lookout:
    """Looks at all parts at once; the slowest takes a few seconds at most."""

    def __init__(self, settings: Settings, instances: Callable[[], Instances]) -> None:
        self._settings = settings
        self._platform = Platform(settings)
        self._instances = instances

    def look(self) -> Overview:
        """Look at everything now. What is away is told as such."""
        with ThreadPoolExecutor(5) as threads:
            processes = threads.submit(self._platform.status)
            fleet = threads.submit(lambda: Part.of(self._fleet))
            bus = threads.submit(lambda: Part.of(self._bus))
            outbox = threads.submit(lambda: Part.of(self._outbox))
            certificate = threads.submit(lambda: Part.of(self._certificate))
            return Overview(processes.result(), fleet.result(), bus.result(), outbox.result(), certificate.result())

    def _fleet(self) -> Fleet:
        found = self._instances().everyone()
        return Fleet(
            by_phase=dict(sorted(Counter(instance.phase for instance in found).items())),
            stalled=sum(instance.stalled for instance in found),
            unhealthy=sum(
                instance.desired_state != DELETED
                and instance.health is not None
                and instance.health.verdict == "unhealthy"
                for instance in found
            ),
        )

    def _bus(self) -> BusState:
        async def limited() -> BusState:
            return await asyncio.wait_for(look(self._settings.bus, Deadline.after(1)), _BUS_SECONDS)

        try:
            return asyncio.run(limited())
        except TimeoutError as late:
            raise CommandError(f"NATS did not tell everything within {_BUS_SECONDS:.0f} s") from late

    def _outbox(self) -> Outbox:
        return outbox_of(self._metrics(Service.API))

    def _certificate(self) -> SiteCertificate:
        found = self._metrics(Service.PROXY_SYNC)
        # A gauge is 0 until it is set.
        return SiteCertificate(found.get(DAYS_LEFT) if found.get(EXPIRES) else None, served=bool(found.get(SERVED)))

    def _metrics(self, service: Service) -> Mapping[str, float]:
        record = self._platform.record
        return metrics(record.probe_host, record.admin_ports[service])


def outbox_of(found: Mapping[str, float]) -> Outbox:
    """Return what the API's numbers say of its outbox."""
    return Outbox(int(found.get(PENDING, 0)), found.get(OLDEST), int(found.get(QUARANTINED, 0)))
