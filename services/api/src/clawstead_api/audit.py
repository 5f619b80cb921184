"""The audit chain: one record per change of a desired state, written in the transaction that makes the change.

A record is chained to the one before it. Its digest is the SHA-256 of its canonical form, which is JSON with
sorted keys, no spaces and only ASCII, of all its fields but ``digest``:

    {"actor": …, "event_id": …, "generation": …, "instance_id": …, "number": …, "payload": …,
     "previous": <digest of record number - 1, 64 zeros for the first>, "request_id": …,
     "time": "2026-01-31T12:00:00.000000Z", "type": …}

``payload`` is the SHA-256 of what the event says in the same form, without ``audit`` and without nulls, so that
a field that a later version adds changes nothing. Number, previous and digest travel in the event itself
(``Desired.audit``): the log holds all that is needed to write a lost table anew, or to notice an altered one.
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from sqlalchemy import text
from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from clawstead_api import outbox
from clawstead_api.tables import Audit
from clawstead_shared.events import AuditLink, Desired, Event, EventType
from clawstead_shared.ids import new_event_id

log = structlog.get_logger()

SYSTEM = "system"
"""The actor of changes that nobody asked for."""
FIRST = "0" * 64
_LOCK = 0x61756474  # any number of our own, other than those of relay, migrations and admission


async def record(session: AsyncSession, type_: EventType, desired: Desired, sealed: bytes | None = None) -> None:
    """Chain a change, and have the bus told of it once the transaction is committed.

    The last thing that a transaction does, since on PostgreSQL others wait for the chain until the commit.
    """
    event_id, now = new_event_id(), datetime.now(UTC)
    link = await chain(session, Event(type_, outbox.SOURCE, desired, id=event_id, time=now))
    outbox.publish(session, type_, desired.model_copy(update={"audit": link}), sealed, event_id=event_id, at=now)


async def chain(session: AsyncSession, event: Event[Desired]) -> AuditLink:
    """Append the record of one change and return its place."""
    await _one_at_a_time(session)
    head = await newest(session)
    row = Audit(**record_of(event), number=head.number + 1 if head else 1, previous=head.digest if head else FIRST)
    row.digest = digest_of(row)
    session.add(row)
    return AuditLink(number=row.number, previous=row.previous, digest=row.digest)


async def restore(session: AsyncSession, events: Sequence[Event[Any]]) -> int:
    """Write the records that the log knows and we do not; return how many.

    Where another record has the number, the log is right: ours was made on an older copy of the database, and
    never published. It and those after it are dropped; who calls this chains their changes anew.
    """
    linked = {
        event.data.audit.number: event for event in events if isinstance(event.data, Desired) and event.data.audit
    }
    known = {row.number: row for row in await _numbered(session, list(linked))}
    for number, event in sorted(linked.items()):
        if (row := known.get(number)) and row.event_id != event.id:
            dropped = await session.exec(delete(Audit).where(col(Audit.number) >= number))
            log.warning("audit records that the log does not know are chained anew", records=dropped.rowcount)
            known = {kept: row for kept, row in known.items() if kept < number}
    missing = [number for number in sorted(linked) if number not in known]
    session.add_all(_restored(linked[number]) for number in missing)
    await session.flush()
    return len(missing)


def _restored(event: Event[Desired]) -> Audit:
    assert event.data.audit
    return Audit(**record_of(event), **event.data.audit.model_dump())


def record_of(event: Event[Desired]) -> dict[str, Any]:
    """Return what an event says of its record, apart from its place in the chain."""
    return {
        "event_id": event.id,
        "time": event.time,
        "actor": event.data.actor,
        "request_id": event.data.request_id,
        "type": event.type.value,
        "instance_id": event.data.instance_id,
        "generation": event.data.generation,
        "payload": payload_digest(event.data.model_dump_json()),
    }


def digest_of(row: Audit) -> str:
    """Return the digest that a record must have."""
    fields = {name: getattr(row, name) for name in Audit.model_fields if name != "digest"}
    fields["time"] = row.time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return hashlib.sha256(_canonical(fields)).hexdigest()


def payload_digest(body: str | bytes) -> str:
    """Return the digest of what an event says, from its JSON.

    Raises:
        ValueError: it is not JSON.
    """
    data: Any = _stated(json.loads(body))
    if isinstance(data, dict):
        data.pop("audit", None)
    return hashlib.sha256(_canonical(data)).hexdigest()


def _stated(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _stated(each) for key, each in value.items() if each is not None}
    return [_stated(each) for each in value] if isinstance(value, list) else value


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


async def newest(session: AsyncSession) -> Audit | None:
    """Return the newest record, None if there is none."""
    return (await session.exec(select(Audit).order_by(col(Audit.number).desc()).limit(1))).first()


async def _numbered(session: AsyncSession, numbers: list[int]) -> Sequence[Audit]:
    return (await session.exec(select(Audit).where(col(Audit.number).in_(numbers)))).all()


async def _one_at_a_time(session: AsyncSession) -> None:
    connection = await session.connection()
    if connection.dialect.name == "postgresql":  # SQLite has one writer anyway
        await connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
