"""Makes history and statuses anew from the log, beside those that are read, and puts them in their place.

The log is read in pages into the staged tables while events go on being taken in. Only for the end, from the last
page on, events wait: what was read is compared, digested and put in place. A crash leaves all as it was.

What the log does not hold any more cannot be made anew, and stays: rows of a log that was lost, and of a subject
those before the oldest message that is left of it. All else that the log does not tell of goes.
"""

import time
from collections import ChainMap
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog

from clawstead_api.database import Database
from clawstead_api.ports import Archive
from clawstead_api.projection import PROJECTED, apply_newest, owners_of, progress_of, row_of
from clawstead_api.projector import Projector
from clawstead_api.staging import Digest, Row, Staging
from clawstead_api.tables import Status
from clawstead_shared.control import RebuildReport
from clawstead_shared.events import Desired, Event, MalformedEventError, Payload
from clawstead_shared.messaging import Stored
from clawstead_shared.messaging.control import RefusedError
from clawstead_shared.subjects import Topic, subject_of

log = structlog.get_logger()

_LOCK = 0x72656275  # any number of our own, other than those of relay, migrations, admission and audit
_STATUSES_AT_ONCE = 250


@dataclass(slots=True)
class _Read:
    """What was read so far, as much as the rest needs: a few numbers per instance, not its events."""

    next: int = 1
    first: dict[tuple[Topic, str], int] = field(default_factory=dict)
    """Number of the oldest message of each subject."""
    latest: dict[tuple[Topic, str], int] = field(default_factory=dict)
    """Sequence of the newest event of each subject that did not come before."""
    owners: dict[str, str] = field(default_factory=dict)
    progress: dict[tuple[str, int], str] = field(default_factory=dict)
    """Event id of the newest progress of each instance and generation."""
    since: dict[str, tuple[int, datetime]] = field(default_factory=dict)
    """What was observed last of each instance (a hash of it), and since when."""
    updated: dict[str, datetime] = field(default_factory=dict)

    def note(self, event: Event[Payload], number: int) -> None:
        self.first.setdefault((event.topic, event.instance_id), number)
        self.latest[event.topic, event.instance_id] = event.sequence or 0
        if isinstance(event.data, Desired):
            self.owners[event.instance_id] = event.data.spec.owner_id
        if event.topic not in PROJECTED:
            return
        self.updated[event.instance_id] = max(event.time, self.updated.get(event.instance_id, event.time))
        if event.topic is Topic.OBSERVED:
            said = _hash(event)
            if self.since.get(event.instance_id, (None,))[0] != said:
                self.since[event.instance_id] = (said, event.time)


class Rebuilder:
    """Answers ``rebuild``."""

    def __init__(self, database: Database, archive: Archive, projector: Projector) -> None:
        self._database = database
        self._archive = archive
        self._projector = projector
        self._staging = Staging(database)

    async def answer(self, _: bytes) -> RebuildReport:
        """Rebuild both projections.

        Raises:
            RefusedError: another process of this service is at it.
            TransientError: the bus did not answer.
            DatabaseUnavailableError: the database did not answer.
        """
        lock = self._database.advisory_lock(_LOCK)
        try:
            if not await lock.held():
                raise RefusedError("another process rebuilds", hint="wait for it to end")
            return await self._rebuild()
        finally:
            await lock.release()

    async def _rebuild(self) -> RebuildReport:
        begun = time.monotonic()
        await self._projector.numbering.look()
        await self._staging.clear()
        read = _Read()
        await self._stage(read)
        async with self._projector.turn:
            await self._stage(read)
            await self._stage_statuses(read)
            before = await self._digest(keep=read)
            await self._staging.take_place()
            after = await self._digest()
        await self._projector.announce_missed()
        await self._staging.clear()
        seconds = round(time.monotonic() - begun, 3)
        log.info("projection rebuilt", entries=after.entries, changed=before.hex() != after.hex(), seconds=seconds)
        return RebuildReport(before=before.hex(), after=after.hex(), entries=after.entries, seconds=seconds)

    async def _stage(self, read: _Read) -> None:
        """Stage the history from where ``read`` got to, to the end of the log."""
        while True:
            page = await self._archive.page(start=read.next)
            if page.messages:
                await self._stage_page(read, list(_events(page.messages)))
                read.next = page.messages[-1].sequence + 1
            if not page.left or not page.messages:
                return

    async def _stage_page(self, read: _Read, events: list[Event[Payload]]) -> None:
        async with self._database.read() as session:
            stored = await owners_of(session, events)
        owners = ChainMap(stored, read.owners)
        offset = self._projector.numbering.offset
        rows: dict[str, Row] = {}
        outdated: list[str] = []
        staged = await self._staging.known([event.id for event in events])
        for event in events:
            of = progress_of(event)
            earlier = read.progress.get(of) if of else None
            if event.id in rows or event.id in staged or event.id == earlier:
                continue
            read.note(event, offset + (event.sequence or 0))
            if of:
                read.progress[of] = event.id
            if earlier and not rows.pop(earlier, None):
                outdated.append(earlier)
            rows[event.id] = row_of(event, owners, offset)
        await self._staging.add_events(list(rows.values()), outdated=outdated)

    async def _digest(self, *, keep: _Read | None = None) -> Digest:
        """Digest what is read now; with ``keep`` also stage the rows that the log does not hold any more."""
        digest = Digest()
        kept: list[Row] = []
        async for row in self._staging.events():
            digest.add(row)
            if keep and row["sequence"] < keep.first.get((Topic(row["topic"]), row["instance_id"]), _END):
                kept.append(row)
                if len(kept) >= _STATUSES_AT_ONCE:
                    await self._staging.add_events(kept)
                    kept = []
        await self._staging.add_events(kept)
        async for row in self._staging.statuses():
            digest.add(row)
        return digest

    async def _stage_statuses(self, read: _Read) -> None:
        """Stage what the newest event of each topic says, and what only the database knows of a topic."""
        told: dict[str, list[Topic]] = {}
        for topic, instance_id in read.first:
            if topic in PROJECTED:
                told.setdefault(instance_id, []).append(topic)
        known: dict[str, Row] = {}
        async for row in self._staging.statuses():
            silent = set(PROJECTED) - set(told.get(row["instance_id"], ()))
            if any(row[topic] is not None for topic in silent):
                known[row["instance_id"]] = row
                told.setdefault(row["instance_id"], [])
        ids = sorted(told)
        for begin in range(0, len(ids), _STATUSES_AT_ONCE):
            chunk = {instance_id: told[instance_id] for instance_id in ids[begin : begin + _STATUSES_AT_ONCE]}
            newest = await self._newest(chunk, read)
            statuses = [
                _status(instance_id, newest.get(instance_id, []), known.get(instance_id), read) for instance_id in chunk
            ]
            await self._staging.add_statuses([status.model_dump() for status in statuses])

    async def _newest(self, told: dict[str, list[Topic]], read: _Read) -> dict[str, list[Event[Payload]]]:
        subjects = [subject_of(topic, instance_id) for instance_id, topics in told.items() for topic in topics]
        newest: dict[str, list[Event[Payload]]] = {}
        for event in await self._archive.newest_of(subjects):
            sequence = read.latest.get((event.topic, event.instance_id))
            if sequence is not None and sequence != event.sequence:
                # It came before and is stored again: what it says is over.
                page = await self._archive.page(start=sequence, subject=event.subject, limit=1)
                event = next(_events(page.messages), event)  # noqa: PLW2901 - it stands in for it
            newest.setdefault(event.instance_id, []).append(event)
        return newest


_END = 2**63


def _events(messages: list[Stored]) -> Iterator[Event[Payload]]:
    for message in messages:
        try:
            yield message.event()
        except MalformedEventError:
            continue  # it was set aside when it came


def _hash(event: Event[Payload]) -> int:
    return hash(event.data.model_dump_json())


def _status(instance_id: str, newest: list[Event[Payload]], known: Row | None, read: _Read) -> Status:
    status = Status(instance_id=instance_id)
    if known:
        told: set[Any] = {event.topic for event in newest}
        kept = set(PROJECTED) - told
        status = Status(**{name: value for name, value in known.items() if name not in PROJECTED or name in kept})
    for event in newest:
        if event.topic is Topic.OBSERVED:
            status.observed_at = None
        apply_newest(status, event, ())
        if event.topic is Topic.OBSERVED and read.since.get(instance_id, (None,))[0] == _hash(event):
            status.observed_at = read.since[instance_id][1]
    updated = [time for time in (status.updated_at, read.updated.get(instance_id)) if time]
    status.updated_at = max(updated, default=None)
    return status
