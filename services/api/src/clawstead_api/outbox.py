"""The outbox: what a transaction has to tell the bus, and the relay that tells it, in order.

    transaction: change + outbox rows  ->  commit  ->  202
                                             └─ wake ─> relay: secrets, event -> PubAck -> row deleted

A crash at any point repeats at most what the bus recognises: an event keeps its id, so JetStream stores it
once, and consumers ignore a generation they know.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import structlog
from nats.errors import BadSubjectError, MaxPayloadError
from nats.js.errors import BadRequestError
from prometheus_client import Counter, Gauge
from sqlmodel import col, delete, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from clawstead_api.database import AdvisoryLock, Database
from clawstead_api.errors import DatabaseUnavailableError
from clawstead_api.ports import SecretStore
from clawstead_api.tables import Outbox
from clawstead_shared.errors import TransientError
from clawstead_shared.events import Desired, Event, EventType
from clawstead_shared.ids import new_event_id
from clawstead_shared.messaging import EventSink
from clawstead_shared.telemetry import continued_trace, current_traceparent

log = structlog.get_logger()

SOURCE = "api"
POISON_ATTEMPTS = 3
SWEEP_SECONDS = 1.0
_BATCH = 512
_IN_FLIGHT = 64
"""As many instances' rows are told at once; nats-server writes to disk what comes together."""
_MAX_BACKOFF_SECONDS = 2.0
_RECONNECT_POLL_SECONDS = 0.1
_LOCK = 0x636C6177  # any number of our own; PostgreSQL's advisory locks are named by numbers
_POISON = (ValueError, BadSubjectError, MaxPayloadError, BadRequestError)

SENT = Counter("clawstead_outbox_sent_total", "Outbox rows that the bus confirmed")
QUARANTINED = Counter("clawstead_outbox_quarantined_total", "Outbox rows that the bus can never take")
PENDING = Gauge("clawstead_outbox_pending", "Outbox rows that wait for the bus")
OLDEST = Gauge("clawstead_outbox_oldest_seconds", "How long the oldest outbox row has waited for the bus")
SET_ASIDE = Gauge("clawstead_outbox_quarantined_rows", "Outbox rows that the bus can never take, still stored")


class Action(StrEnum):
    """What a row asks of the relay."""

    PUBLISH = "publish"
    DEPOSIT_SECRETS = "deposit_secrets"
    FORGET_SECRETS = "forget_secrets"


def forget_secrets(session: AsyncSession, instance_id: str) -> None:
    """Have the secrets of an instance deleted from the bus."""
    session.add(_row(Action.FORGET_SECRETS, instance_id))


def publish(
    session: AsyncSession,
    type_: EventType,
    desired: Desired,
    sealed: bytes | None = None,
    *,
    event_id: str | None = None,
    at: datetime | None = None,
) -> None:
    """Have ``desired`` published, in the trace of the current span, and before it the secrets it refers to."""
    session.add(
        _row(
            Action.PUBLISH,
            desired.instance_id,
            at,
            event_id=event_id or new_event_id(),
            event_type=type_,
            payload=desired.model_dump_json(),
            sealed=sealed,
        )
    )


def deposit_secrets(session: AsyncSession, instance_id: str, sealed: bytes) -> None:
    """Have the secrets of an instance put on the bus."""
    session.add(_row(Action.DEPOSIT_SECRETS, instance_id, sealed=sealed))


def _row(action: Action, instance_id: str, at: datetime | None = None, **fields: Any) -> Outbox:
    return Outbox(
        action=action,
        instance_id=instance_id,
        traceparent=current_traceparent(),
        created_at=at or datetime.now(UTC),
        **fields,
    )


class Relay:
    """Tells the bus what the outbox holds. One per database tells at a time."""

    def __init__(
        self, database: Database, sink: EventSink, secrets: SecretStore, *, connected: Callable[[], bool]
    ) -> None:
        self._database = database
        self._sink = sink
        self._secrets = secrets
        self._connected = connected
        self._woken = asyncio.Event()
        self._measured_at = -SWEEP_SECONDS

    def wake(self) -> None:
        """Say that rows were committed."""
        self._woken.set()

    async def run(self) -> None:
        """Relay for ever: when woken, and every second in case a wake was missed."""
        lock = self._database.advisory_lock(_LOCK)
        backoff = _RECONNECT_POLL_SECONDS
        try:
            while True:
                try:
                    await self._turn(lock)
                    backoff = _RECONNECT_POLL_SECONDS
                except (TransientError, DatabaseUnavailableError) as error:
                    log.warning("outbox waits", error=str(error), retry_seconds=backoff)
                    await asyncio.sleep(backoff)
                    backoff = min(backoff * 2, _MAX_BACKOFF_SECONDS)
        finally:
            await lock.release()

    async def _turn(self, lock: AdvisoryLock) -> None:
        await self._measure()
        # A publish while disconnected is buffered and times out, so it is not even tried.
        if not self._connected():
            await asyncio.sleep(_RECONNECT_POLL_SECONDS)
            return
        self._woken.clear()
        if await lock.held() and await self.drain():
            return
        try:
            async with asyncio.timeout(SWEEP_SECONDS):
                await self._woken.wait()
        except TimeoutError:
            return

    async def drain(self) -> int:
        """Tell the bus one batch of rows, oldest first, and return how many it took.

        A row that the bus can never take holds up only its own instance, and only until it is quarantined.

        Raises:
            TransientError: the bus does not take anything now; the rows stay.
            DatabaseUnavailableError: what was taken is told again later, which the bus recognises.
        """
        rows = await self._pending()
        sent: list[int] = []
        try:
            await self._tell_all(rows, sent)
        finally:
            if sent:
                await self._delete(sent)
        return len(sent)

    async def _tell_all(self, rows: Sequence[Outbox], sent: list[int]) -> None:
        """Tell the rows of many instances at once, those of each in order; note in ``sent`` what was told."""
        lanes: dict[str, list[Outbox]] = {}
        for row in rows:
            lanes.setdefault(row.instance_id, []).append(row)
        waiting = iter(lanes.values())
        failures: list[Exception] = []

        async def work() -> None:
            for lane in waiting:
                for row in lane:
                    if failures:
                        return
                    try:
                        told = await self._tell(row)
                    except Exception as error:
                        failures.append(error)
                        return
                    if not told:
                        break
                    sent.append(row.id or 0)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(_IN_FLIGHT, len(lanes))):
                group.create_task(work())
        if failures:
            raise failures[0]

    async def _pending(self) -> Sequence[Outbox]:
        async with self._database.read() as session:
            living = select(Outbox).where(col(Outbox.quarantined_at).is_(None)).order_by(col(Outbox.id)).limit(_BATCH)
            return (await session.exec(living)).all()

    async def _measure(self) -> None:
        """Bring the metrics up to date, at most once a second."""
        if time.monotonic() < self._measured_at + SWEEP_SECONDS:
            return
        self._measured_at = time.monotonic()
        async with self._database.read() as session:
            quarantined = col(Outbox.quarantined_at).is_not(None)
            statement = select(quarantined, func.count(), func.min(Outbox.created_at)).group_by(quarantined)
            found = {bool(apart): (count, oldest) for apart, count, oldest in (await session.exec(statement)).all()}
        count, oldest = found.get(False, (0, None))
        PENDING.set(count)
        OLDEST.set((datetime.now(UTC) - oldest).total_seconds() if oldest else 0)
        SET_ASIDE.set(found.get(True, (0, None))[0])

    async def _tell(self, row: Outbox) -> bool:
        try:
            await self._carry_out(row)
        except _POISON as error:
            await self._count_failure(row, error)
            return False
        except TransientError as error:
            if not isinstance(error.__cause__, _POISON):
                raise
            await self._count_failure(row, error.__cause__)
            return False
        SENT.inc()
        return True

    async def _carry_out(self, row: Outbox) -> None:
        with continued_trace(row.traceparent):
            match Action(row.action):
                case Action.FORGET_SECRETS:
                    await self._secrets.forget(row.instance_id)
                case Action.DEPOSIT_SECRETS:
                    await self._secrets.put(row.instance_id, row.sealed or b"{}")
                case Action.PUBLISH:
                    if row.sealed:
                        await self._secrets.put(row.instance_id, row.sealed)
                    await self._sink.publish(_event_of(row))

    async def _delete(self, ids: list[int]) -> None:
        async with self._database.write() as session:
            await session.exec(delete(Outbox).where(col(Outbox.id).in_(ids)))

    async def _count_failure(self, row: Outbox, error: Exception) -> None:
        async with self._database.write() as session:
            stored = await session.get_one(Outbox, row.id)
            stored.attempts += 1
            stored.error = f"{type(error).__name__}: {error}"[:500]
            if stored.attempts >= POISON_ATTEMPTS:
                stored.quarantined_at = datetime.now(UTC)
                QUARANTINED.inc()
                log.error("outbox row quarantined", row=row.id, instance_id=row.instance_id, error=stored.error)


def _event_of(row: Outbox) -> Event[Desired]:
    return Event(
        type=EventType(row.event_type or ""),
        source=SOURCE,
        data=Desired.read((row.payload or "").encode()),
        id=row.event_id or "",
        time=row.created_at,
    )
