"""Checks the audit chain against itself, the outbox and the log, and names the first record that is wrong.

The chain alone shows a record that was altered, taken out or moved. One that was altered together with all
digests after it, or appended, shows where its event says otherwise, or is nowhere.
"""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlmodel import col, func, select
from sqlmodel.ext.asyncio.session import AsyncSession

from clawstead_api import audit
from clawstead_api.audit_views import AuditFinding, AuditVerdict
from clawstead_api.database import Database
from clawstead_api.ports import Archive
from clawstead_api.tables import Audit, Outbox
from clawstead_shared.errors import TransientError
from clawstead_shared.events import AuditLink, Desired, MalformedEventError
from clawstead_shared.messaging import Stored
from clawstead_shared.streams import STATE_STREAM, STREAMS
from clawstead_shared.subjects import Topic, all_of

_PAGE = 1000
_KEPT = next(stream.max_msgs_per_subject for stream in STREAMS if stream.name == STATE_STREAM)


@dataclass(frozen=True, slots=True)
class _Said:
    """What an event in the outbox or the log says of its record."""

    event_id: str
    link: AuditLink
    payload: str


@dataclass(slots=True)
class _Check:
    """One run. ``seen`` has a bit per number, so that millions of records fit."""

    first: AuditFinding | None = None
    records: int = 0
    in_log: int = 0
    seen: bytearray = field(default_factory=bytearray)
    stored: Counter[str] = field(default_factory=Counter)

    def found(self, number: int, problem: str, message: str) -> None:
        if self.first is None or number < self.first.number:
            self.first = AuditFinding(number=number, problem=problem, message=f"record {number} {message}")

    def mark(self, number: int) -> None:
        place, bit = divmod(number, 8)
        if place >= len(self.seen):
            self.seen.extend(bytes(place + 1 - len(self.seen)))
        self.seen[place] |= 1 << bit

    def marked(self, number: int) -> bool:
        place, bit = divmod(number, 8)
        return place < len(self.seen) and bool(self.seen[place] >> bit & 1)


async def verify(database: Database, log: Archive) -> AuditVerdict:
    """Check every record. What is older than the log is only checked against the chain.

    Raises:
        DatabaseUnavailableError: the database did not answer.
    """
    check = _Check()
    # In this order an event that is published meanwhile is seen in one place at least.
    async with database.read() as session:
        last = (await session.exec(select(func.max(Audit.number)))).one() or 0
        await _compare(session, check, await _waiting(session))
    log_begins = await _check_log(database, log, check)
    previous: Audit | None = None
    async for row in _chain(database, last):
        check.records += 1
        _check_place(check, previous, row)
        if not check.marked(row.number) and _should_be_in_log(check, row, log_begins):
            check.found(row.number, "not_in_log", "tells of a change whose event is nowhere: it was never made")
        previous = row
    return AuditVerdict(
        ok=check.first is None,
        records=check.records,
        in_log=check.in_log,
        log_checked=log_begins is not None,
        finding=check.first,
    )


def _check_place(check: _Check, previous: Audit | None, row: Audit) -> None:
    if previous and row.number != previous.number + 1:
        check.found(previous.number + 1, "missing", "is missing")
    if audit.digest_of(row) != row.digest:
        check.found(row.number, "altered", "is not what its digest says: it was altered")
    elif row.previous != (previous.digest if previous else _before(row)):
        check.found(row.number, "out_of_order", "does not follow on the one before it: one of them was replaced")


def _before(row: Audit) -> str:
    # A chain that was written anew from a log that does not reach back begins in the middle.
    return audit.FIRST if row.number == 1 else row.previous


def _should_be_in_log(check: _Check, row: Audit, log_begins: datetime | None) -> bool:
    if log_begins is None or row.time < log_begins:
        return False
    return check.stored[row.instance_id] < _KEPT  # else its event may have made room for newer ones


async def _check_log(database: Database, log: Archive, check: _Check) -> datetime | None:
    """Compare the log with the records; return since when it knows everything, None if it cannot be read."""
    start = 1
    try:
        begins = (await log.identity()).created
        while True:
            page = await log.page(start=start, subject=all_of(Topic.DESIRED))
            said = [each for each in map(_said_in_log, page.messages) if each]
            check.stored.update(message.subject.rpartition(".")[2] for message in page.messages)
            async with database.read() as session:
                check.in_log += await _compare(session, check, said)
            if not page.left or not page.messages:
                return begins
            start = page.messages[-1].sequence + 1
    except TransientError:
        return None


def _said_in_log(message: Stored) -> _Said | None:
    try:
        event = message.event()
    except MalformedEventError:
        return None
    if not isinstance(event.data, Desired) or event.data.audit is None:
        return None
    return _Said(event.id, event.data.audit, audit.payload_digest(message.body))


async def _waiting(session: AsyncSession) -> list[_Said]:
    rows = (await session.exec(select(Outbox).where(col(Outbox.payload).is_not(None)))).all()
    said = []
    for row in rows:
        link = Desired.read((row.payload or "").encode()).audit
        if link:
            said.append(_Said(row.event_id or "", link, audit.payload_digest(row.payload or "")))
    return said


async def _compare(session: AsyncSession, check: _Check, said: Sequence[_Said]) -> int:
    """Hold events against their records; return how many have one."""
    records: dict[int, Audit] = {}
    for begin in range(0, len(said), _PAGE):
        numbers = [each.link.number for each in said[begin : begin + _PAGE]]
        rows = (await session.exec(select(Audit).where(col(Audit.number).in_(numbers)))).all()
        records |= {row.number: row for row in rows}
    for each in said:
        check.mark(each.link.number)
        row = records.get(each.link.number)
        if row is None:
            check.found(each.link.number, "missing", "is missing, although its event is known")
        elif (row.event_id, row.digest, row.previous) != (each.event_id, each.link.digest, each.link.previous):
            check.found(row.number, "altered", "is not the one that its event names: it was altered")
        elif row.payload != each.payload:
            check.found(row.number, "event_altered", "tells of an event that says something else: that was altered")
    return len(records)


async def _chain(database: Database, last: int) -> AsyncIterator[Audit]:
    after = 0
    while True:
        async with database.read() as session:
            statement = select(Audit).where(Audit.number > after, Audit.number <= last)
            rows = (await session.exec(statement.order_by(col(Audit.number)).limit(_PAGE))).all()
        for row in rows:
            yield row
        if len(rows) < _PAGE:
            return
        after = rows[-1].number
