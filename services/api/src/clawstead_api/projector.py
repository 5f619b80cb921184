"""The projector: from the stream to what clients read, one event at a time or a page of the log at once.

``projection`` works out what changes; here it is read, written and announced. One change is made at a time, so
that live events, replays and a rebuild do not get between each other.
"""

import asyncio
from collections.abc import Callable, Sequence

import structlog
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import col, delete
from sqlmodel.ext.asyncio.session import AsyncSession

from clawstead_api import outbox, repository
from clawstead_api.database import Database
from clawstead_api.errors import DatabaseUnavailableError
from clawstead_api.feed import Feed
from clawstead_api.numbering import Numbering
from clawstead_api.ports import Archive
from clawstead_api.projection import PROJECTED, Change, Newest, changes
from clawstead_api.tables import Event as EventRow
from clawstead_shared.control import Effect
from clawstead_shared.events import Event, Payload
from clawstead_shared.messaging import EventReader
from clawstead_shared.subjects import Topic, subject_of

log = structlog.get_logger()

_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 5.0
_PRESENT_AT_ONCE = 500


class Projector:
    """Takes events in."""

    def __init__(
        self,
        database: Database,
        reader: EventReader,
        archive: Archive,
        feed: Feed,
        *,
        wake: Callable[[], None],
    ) -> None:
        self._database = database
        self._reader = reader
        self._archive = archive
        self._feed = feed
        self._wake = wake
        self._highest = 0
        self.numbering = Numbering(database, archive)
        self.turn = asyncio.Lock()
        """Held while the projection is changed."""

    async def catch_up(self) -> None:
        """Take in the present of every instance before consuming, so that a restart shows nothing stale.

        Raises:
            TransientError: the bus did not answer.
            DatabaseUnavailableError: the database did not answer.
        """
        await self.numbering.look()
        for topic in PROJECTED:
            present = list((await self._reader.snapshot(topic)).values())
            for begin in range(0, len(present), _PRESENT_AT_ONCE):
                newest = present[begin : begin + _PRESENT_AT_ONCE]
                async with self.turn:
                    await self._commit((), {(event.topic, event.instance_id): event for event in newest})
        async with self._database.read() as session:
            self._feed.open_at(await repository.newest_sequence(session))

    async def take_in(self, event: Event[Payload]) -> None:
        """Record one event and bring the status of its instance up to date.

        Waits for a database that is not available: an event set aside would be missing from the history.

        Raises:
            TransientError: the bus did not answer.
        """
        wait = _FIRST_WAIT_SECONDS
        while True:
            try:
                await self.take_in_batch([event])
            except DatabaseUnavailableError as error:
                log.warning("projection waits for the database", reason=error.reason, retry_seconds=wait)
                await asyncio.sleep(wait)
                wait = min(wait * 2, _LONGEST_WAIT_SECONDS)
            else:
                return

    async def take_in_batch(self, events: Sequence[Event[Payload]]) -> None:
        """Record a page of events, in their order and in one transaction.

        Raises:
            TransientError: the bus did not answer.
            DatabaseUnavailableError: the database did not answer; nothing is recorded.
        """
        if not events:
            return
        if (events[0].sequence or 0) <= self._highest:
            # Told again, or told by a log that counts from 1 again: then it is not to be numbered like the old one.
            await self.numbering.look()
        newest = await self._newest(events)
        async with self.turn:
            change = await self._commit(events, newest)
        self._highest = events[-1].sequence or 0
        for row in change.added:
            if self._feed.lacks(row["sequence"]):
                self._feed.announce(EventRow(**row))

    async def plan(self, events: Sequence[Event[Payload]]) -> list[Effect]:
        """Say what taking ``events`` in would change.

        Raises:
            TransientError: the bus did not answer.
            DatabaseUnavailableError: the database did not answer.
        """
        newest = await self._newest(events)
        async with self._database.read() as session:
            return (await changes(session, events, newest, self.numbering.offset)).effects()

    async def announce_missed(self) -> None:
        """Tell the feed of rows that came without it."""
        async with self._database.read() as session:
            for row in await repository.events_since(session, self._feed.newest):
                self._feed.announce(row)

    async def _newest(self, events: Sequence[Event[Payload]]) -> Newest:
        newest: dict[tuple[Topic, str], Event[Payload]] = {}
        newest.update({(event.topic, event.instance_id): event for event in events if event.topic in PROJECTED})
        if len(newest) == 1:
            (event,) = newest.values()
            newest[event.topic, event.instance_id] = await self._reader.newest(event.topic, event.instance_id) or event
            return newest
        for event in await self._archive.newest_of([subject_of(*key) for key in newest]):
            newest[event.topic, event.instance_id] = event
        return newest

    async def _commit(self, events: Sequence[Event[Payload]], newest: Newest) -> Change:
        async def work(session: AsyncSession) -> Change:
            change = await changes(session, events, newest, self.numbering.offset)
            await _write(session, change)
            return change

        change = await self._database.transact(work)
        if change.removed:
            self._wake()
        return change


async def _write(session: AsyncSession, change: Change) -> None:
    session.add_all(change.statuses)
    for instance, when in change.removed:
        await repository.tombstone(session, instance, when)
        outbox.forget_secrets(session, instance.id)
    if change.outdated:
        await session.exec(delete(EventRow).where(col(EventRow.id).in_(change.outdated)))
    if change.added:
        connection = await session.connection()
        insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        # Another process may have taken the same event in a moment ago.
        await connection.execute(insert(EventRow).on_conflict_do_nothing(), change.added)
