"""The projector: from the stream to what clients read.

Each event becomes one history row, known by its id; progress replaces earlier progress, as it comes every few
percent and only the newest is of use. The status of an instance is set from the *newest* event
of the topic, read back from the stream, so duplicates, another order and replays end in the same state.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import structlog
from sqlmodel.ext.asyncio.session import AsyncSession

from clawstead_api import outbox, repository
from clawstead_api.database import Database
from clawstead_api.errors import DatabaseUnavailableError
from clawstead_api.feed import Feed
from clawstead_api.tables import Event as EventRow
from clawstead_api.tables import Instance, Status
from clawstead_api.views import public_data
from clawstead_shared.events import (
    Desired,
    DesiredState,
    Event,
    EventType,
    MalformedEventError,
    Observed,
    Payload,
    Phase,
)
from clawstead_shared.messaging import EventReader
from clawstead_shared.subjects import Topic

log = structlog.get_logger()

PROJECTED = (Topic.OBSERVED, Topic.ROUTE, Topic.HEALTH, Topic.TERMINAL)
_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 5.0


class Projector:
    """Takes events in, one at a time and in order."""

    def __init__(self, database: Database, reader: EventReader, feed: Feed, *, wake: Callable[[], None]) -> None:
        self._database = database
        self._reader = reader
        self._feed = feed
        self._wake = wake

    async def catch_up(self) -> None:
        """Take in the present of every instance before consuming, so that a restart shows nothing stale.

        Raises:
            TransientError: the bus did not answer.
        """
        for topic in PROJECTED:
            for newest in (await self._reader.snapshot(topic)).values():
                await self._commit(None, newest)
        async with self._database.read() as session:
            self._feed.open_at(await repository.newest_sequence(session))

    async def take_in(self, event: Event[Payload]) -> None:
        """Record one event and bring the status of its instance up to date.

        Waits for a database that is not available: an event set aside would be missing from the history.

        Raises:
            TransientError: the bus did not answer.
        """
        newest = event if event.topic is Topic.DESIRED else await self._newest(event)
        wait = _FIRST_WAIT_SECONDS
        while True:
            try:
                row = await self._commit(event, newest)
            except DatabaseUnavailableError as error:
                log.warning("projection waits for the database", reason=error.reason, retry_seconds=wait)
                await asyncio.sleep(wait)
                wait = min(wait * 2, _LONGEST_WAIT_SECONDS)
            else:
                break
        if row is not None:
            self._feed.announce(row)

    async def _newest(self, event: Event[Payload]) -> Event[Payload]:
        try:
            return await self._reader.newest(event.topic, event.instance_id) or event
        except MalformedEventError as error:
            # Someone else's poison must not take this event down with it.
            log.warning("newest message is malformed", instance_id=event.instance_id, error=str(error))
            return event

    async def _commit(self, event: Event[Payload] | None, newest: Event[Payload]) -> EventRow | None:
        removed = False
        async with self._database.write() as session:
            row = await _append(session, event) if event else None
            if newest.topic in PROJECTED:
                await _apply(session, newest)
                removed = await _bury_if_removed(session, newest)
        if removed:
            self._wake()
        return row


async def _append(session: AsyncSession, event: Event[Payload]) -> EventRow | None:
    if await session.get(EventRow, event.id) or await _outdated_progress(session, event):
        return None
    row = EventRow(
        id=event.id,
        sequence=event.sequence or 0,
        owner_id=await _owner_of(session, event),
        instance_id=event.instance_id,
        topic=event.topic,
        type=event.type,
        time=event.time,
        data=public_data(event),
    )
    session.add(row)
    return row


async def _outdated_progress(session: AsyncSession, event: Event[Payload]) -> bool:
    """Make room for progress, of which the history keeps the newest of each generation; False if this is it."""
    if event.type is not EventType.PROGRESSED or not isinstance(event.data, Observed):
        return False
    for row in await repository.progress_of(session, event.instance_id):
        if row.data.get("generation") == event.data.generation:
            if row.sequence > (event.sequence or 0):
                return True
            await session.delete(row)
    return False


async def _owner_of(session: AsyncSession, event: Event[Payload]) -> str | None:
    if isinstance(event.data, Desired):
        return event.data.spec.owner_id
    return await repository.owner_of(session, event.instance_id)


async def _apply(session: AsyncSession, newest: Event[Payload]) -> None:
    status = await session.get(Status, newest.instance_id)
    if status is None:
        status = Status(instance_id=newest.instance_id)
        session.add(status)
    data: dict[str, Any] = newest.data.model_dump(mode="json")
    if isinstance(newest.data, Observed):
        status.phase = newest.data.phase
        if status.observed != data:
            status.observed_at = newest.time
    setattr(status, newest.topic, data)
    status.updated_at = max(newest.time, status.updated_at or newest.time)


async def _bury_if_removed(session: AsyncSession, newest: Event[Payload]) -> bool:
    if not isinstance(newest.data, Observed) or newest.data.phase is not Phase.REMOVED:
        return False
    instance = await session.get(Instance, newest.instance_id, with_for_update=True)
    if instance is None or instance.removed_at is not None:
        return False
    if instance.wanted is not DesiredState.DELETED:
        log.error("an instance that should live is reported removed", instance_id=instance.id)
        return False
    await repository.tombstone(session, instance, newest.time)
    outbox.forget_secrets(session, instance.id)
    return True
