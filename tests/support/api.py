"""The API in one process, on a real database: its bus is in memory, and moves only when a test says so."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from nacl.public import PrivateKey

from clawstead_api.admission import Capacity
from clawstead_api.app import build_http, stored_events
from clawstead_api.auth import ADMIN, ensure_admin_token
from clawstead_api.database import Database
from clawstead_api.desk import Desk
from clawstead_api.errors import LogsUnavailableError
from clawstead_api.feed import Feed
from clawstead_api.keys import KeyExchange
from clawstead_api.outbox import Relay
from clawstead_api.plans import load_plans
from clawstead_api.projector import Projector
from clawstead_api.recovery import Recovery
from clawstead_api.sealing import Vault
from clawstead_api.tickets import TicketIssuer
from clawstead_shared.control import InstanceLogs, LogsRequest
from clawstead_shared.errors import TransientError
from clawstead_shared.events import Event, Observed, Payload, Phase
from clawstead_shared.hosts import HostBudget
from clawstead_shared.settings import EdgeSettings
from clawstead_shared.subjects import Topic
from tests.support.factories import make_observed, observed_event
from tests.support.fake_bus import FakeBus

TOKEN = "claw_test_" + "0" * 32
OWNER = ADMIN


class FakeBuckets:
    """The key-value buckets in memory. Keeps every port of what is stored there."""

    def __init__(self) -> None:
        self.available = True
        self.made_at = datetime.now(UTC)
        self.secrets: dict[str, bytes] = {}
        self.provisioner: PrivateKey | None = PrivateKey.generate()
        self.ticket_pem: bytes | None = None
        self.hosts: list[HostBudget] = []
        self.tokens: bytes | None = None

    async def put(self, instance_id: str, sealed: bytes) -> None:
        self._require_available()
        self.secrets[instance_id] = sealed

    async def forget(self, instance_id: str) -> None:
        self._require_available()
        self.secrets.pop(instance_id, None)

    async def created(self) -> datetime:
        self._require_available()
        return self.made_at

    async def deposits(self) -> AsyncIterator[tuple[str, bytes]]:
        self._require_available()
        for instance_id, sealed in list(self.secrets.items()):
            yield instance_id, sealed

    async def sealing_key(self) -> bytes | None:
        self._require_available()
        return bytes(self.provisioner.public_key) if self.provisioner else None

    async def publish_ticket_key(self, pem: bytes) -> None:
        self._require_available()
        self.ticket_pem = pem

    async def token_copies(self) -> bytes | None:
        self._require_available()
        return self.tokens

    async def keep_token_copies(self, locked: bytes) -> None:
        self._require_available()
        self.tokens = locked

    async def host_budgets(self) -> list[HostBudget]:
        self._require_available()
        return self.hosts

    def _require_available(self) -> None:
        if not self.available:
            raise TransientError("the fake buckets are down")


class FakeOutput:
    """What containers wrote. Keeps ``InstanceOutput``."""

    def __init__(self) -> None:
        self.asked: list[LogsRequest] = []
        self.answer: InstanceLogs | LogsUnavailableError = InstanceLogs()

    async def read(self, request: LogsRequest) -> InstanceLogs:
        self.asked.append(request)
        if isinstance(self.answer, LogsUnavailableError):
            raise self.answer
        return self.answer


class Api:
    """One API and a client that holds its admin token."""

    def __init__(self, database: Database, directory: Path) -> None:
        self.database = database
        self.bus = FakeBus()
        self.buckets = FakeBuckets()
        self.output = FakeOutput()
        self.feed = Feed(stored_events(database))
        self.wakes = 0
        self.relay = Relay(database, self.bus, self.buckets, connected=lambda: self.bus.available)
        self.projector = Projector(database, self.bus, self.bus, self.feed, wake=self._wake)
        tickets = TicketIssuer(directory / "ticket.key")
        self.desk = Desk(
            database=database,
            keys=KeyExchange(database, self.buckets, tickets.public_pem),
            vault=Vault(directory / "vault.key"),
            tickets=tickets,
            plans=load_plans(),
            capacity=Capacity(self.buckets),
            edge=EdgeSettings(),
            image="openclaw:local",
            archive=self.bus,
            output=self.output,
            wake=self._wake,
        )
        self.recovery = Recovery(self.desk, self.projector, self.bus, self.buckets)
        self.app = build_http(self.desk, self.feed)
        self._taken_in = 0

    def _wake(self) -> None:
        self.wakes += 1

    @asynccontextmanager
    async def client(self, token: str | None = TOKEN) -> AsyncIterator[httpx.AsyncClient]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api/api/v1", headers=headers) as client:
            yield client

    async def prepare(self) -> None:
        """Store the token and open the feed, as a start does."""
        await ensure_admin_token(self.database, preset=TOKEN)
        await self.projector.catch_up()

    def restarted(self) -> None:
        """Take in from the first event on, as after a loss of the log."""
        self._taken_in = 0

    async def settle(self) -> None:
        """Let the relay publish what is committed, and the projector take in what is published."""
        while await self.relay.drain():
            pass
        while self._taken_in < len(self.bus.events):
            event = self.bus.events[self._taken_in]
            self._taken_in += 1
            await self.projector.take_in(event)
        while await self.relay.drain():
            pass

    async def report(self, event: Event[Payload]) -> None:
        """Publish what another service observed, and take it in."""
        await self.settle()
        await self.bus.publish(event)
        await self.settle()

    async def observe(self, instance_id: str, phase: Phase, **fields: Any) -> Observed:
        """Report an observation of an instance."""
        observed = make_observed(instance_id, phase=phase, **fields)
        await self.report(observed_event(observed))
        return observed

    def desired(self, instance_id: str) -> list[Event[Any]]:
        """Return what was asked of an instance, in order."""
        return [event for event in self.bus.of(Topic.DESIRED) if event.instance_id == instance_id]
