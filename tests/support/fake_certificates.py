"""A certificate's world in memory: an authority, visitors, operators, a memory. For the keeper's unit tests."""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from clawstead_proxy_sync.certificates.failures import CertificateError
from clawstead_proxy_sync.certificates.keeper import CertificateKeeper
from clawstead_proxy_sync.certificates.order import Order, Source
from clawstead_proxy_sync.certificates.schedule import Memory
from clawstead_proxy_sync.certificates.telling import Bulletin
from clawstead_proxy_sync.ports import Certificate, PairFacts
from clawstead_shared.errors import HandlingError
from clawstead_shared.notices import Notice

DOMAIN = "claw.example"


def make_certificate(
    serial: str, not_after: datetime, *, life: timedelta = timedelta(days=90), **it: Any
) -> Certificate:
    """Return a certificate that nobody signed."""
    facts = PairFacts(
        serial=serial,
        fingerprint=f"fingerprint of {serial}",
        names=(DOMAIN, f"*.{DOMAIN}"),
        issuer="CN=authority",
        not_before=not_after - life,
        not_after=not_after,
    )
    return Certificate(Path(serial), Path(serial), f"digest of {serial}", facts, **it)


class FakeSource:
    """Keeps ``CertificateSource``: gives a new certificate for each order, unless it was told to fail."""

    def __init__(self, world: "CertificateWorld") -> None:
        self._world = world
        self.certificate = make_certificate("local", world.now + timedelta(days=397), local=True)
        self.failures: deque[Exception] = deque()
        self.unreadable: OSError | None = None
        self.orders: list[dict[str, bool]] = []
        self.due = True
        self.open = asyncio.Event()
        self.open.set()

    async def current(self) -> Certificate:
        if self.unreadable:
            raise self.unreadable
        return self.certificate

    async def obtain(self, **options: bool) -> None:
        self.orders.append(options)
        await self.open.wait()
        if self.failures:
            raise self.failures.popleft()
        if (self.due or options["force"]) and not options["dry_run"]:
            self.certificate = make_certificate(f"{len(self.orders):x}", self._world.now + timedelta(days=90))
            self.due = False


@dataclass
class CertificateWorld:
    """Everything around one keeper; survives its death."""

    now: datetime = datetime(2026, 11, 21, 12, tzinfo=UTC)
    memory: Memory = field(default_factory=Memory)
    notices: list[Notice] = field(default_factory=list)
    served: list[str] = field(default_factory=list)
    refusals: deque[HandlingError] = field(default_factory=deque)
    blind: bool = False
    """Whether visitors are shown nothing new."""

    def __post_init__(self) -> None:
        self.source = FakeSource(self)
        self._shown: str | None = None

    def keeper(self, source: Source = Source.CLOUDFLARE, settings: str = "settings") -> CertificateKeeper:
        return CertificateKeeper(
            self.source,
            self._serve,
            order=Order(DOMAIN, source),
            settings=settings,
            visitor=self,
            recollection=self,
            bulletin=Bulletin(DOMAIN, self),
            interval=timedelta(hours=12),
            look_every=timedelta(milliseconds=5),
            clock=lambda: self.now,
        )

    async def _serve(self, certificate: Certificate) -> None:
        if self.refusals:
            raise self.refusals.popleft()
        self.served.append(certificate.facts.serial)
        if not self.blind:
            self._shown = certificate.facts.fingerprint

    async def fingerprint(self) -> str | None:
        return self._shown

    def load(self) -> Memory:
        return Memory.model_validate_json(self.memory.model_dump_json())

    def store(self, memory: Memory) -> None:
        self.memory = memory

    def tell(self, notice: Notice) -> None:
        self.notices.append(notice)

    @property
    def told(self) -> list[tuple[str, str | None]]:
        """What operators heard, in order."""
        return [(notice.kind.value, notice.reason) for notice in self.notices]

    def fail(self, *errors: CertificateError | OSError) -> None:
        self.source.failures.extend(errors)
