"""The bus in memory: keeps ``EventSink``, ``EventReader`` and the API's ``Archive`` for handlers' unit tests."""

from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatch

from clawstead_api.ports import LogIdentity
from clawstead_shared.errors import TransientError
from clawstead_shared.events import Event, Payload, decode, encode
from clawstead_shared.messaging import Stored
from clawstead_shared.messaging.log import EVERYTHING, PAGE, Page
from clawstead_shared.subjects import Topic


class FakeBus:
    """Stores what was published, once per event id, as the real stream does."""

    def __init__(self) -> None:
        self.events: list[Event[Payload]] = []
        self.available = True
        self.created = datetime.now(UTC)

    async def publish(self, event: Event[Payload]) -> int:
        self._require_available()
        for sequence, stored in enumerate(self.events, start=1):
            if stored.id == event.id:
                return sequence
        headers, body = encode(event)
        self.events.append(decode(event.subject, headers, body, sequence=len(self.events) + 1))
        return len(self.events)

    def store_again(self, event: Event[Payload]) -> None:
        """Store an event that is in the log already, as the real stream does when it came long ago."""
        self.events.append(replace(event, sequence=len(self.events) + 1))

    async def newest(self, topic: Topic, instance_id: str) -> Event[Payload] | None:
        self._require_available()
        return next((event for event in reversed(self.of(topic)) if event.instance_id == instance_id), None)

    async def newest_generation(self, instance_id: str) -> Event[Payload] | None:
        self._require_available()
        mine = [event for event in self.of(Topic.DESIRED) if event.instance_id == instance_id]
        return max(mine, key=lambda event: event.data.generation, default=None)  # type: ignore[attr-defined]

    async def snapshot(self, topic: Topic) -> dict[str, Event[Payload]]:
        self._require_available()
        return {event.instance_id: event for event in self.of(topic)}

    async def each_newest(self, topic: Topic) -> AsyncIterator[Event[Payload]]:
        for event in (await self.snapshot(topic)).values():
            yield event

    async def identity(self) -> LogIdentity:
        self._require_available()
        return LogIdentity(self.created, len(self.events))

    async def page(
        self, *, start: int | datetime = 1, subject: str = EVERYTHING, up_to: int | None = None, limit: int = PAGE
    ) -> Page:
        self._require_available()
        assert isinstance(start, int)
        pattern = subject.replace(">", "*")
        found = [
            self._stored(sequence, event)
            for sequence, event in enumerate(self.events, start=1)
            if start <= sequence <= (up_to or sequence) and fnmatch(event.subject, pattern)
        ]
        return Page(found[:limit], len(found[limit:]))

    async def newest_of(self, subjects: Collection[str]) -> list[Event[Payload]]:
        self._require_available()
        newest = {event.subject: event for event in self.events}
        return [newest[subject] for subject in subjects if subject in newest]

    @staticmethod
    def _stored(sequence: int, event: Event[Payload]) -> Stored:
        headers, body = encode(event)
        return Stored(sequence, event.subject, event.time, headers, body)

    def of(self, topic: Topic) -> list[Event[Payload]]:
        """Return the events of one topic, in order."""
        return [event for event in self.events if event.topic is topic]

    def _require_available(self) -> None:
        if not self.available:
            raise TransientError("the fake bus is down")
