"""The bus in memory: keeps ``EventSink`` and ``EventReader`` for handlers' unit tests."""

from clawstead_shared.errors import TransientError
from clawstead_shared.events import Event, Payload, decode, encode
from clawstead_shared.subjects import Topic


class FakeBus:
    """Stores what was published, once per event id, as the real stream does."""

    def __init__(self) -> None:
        self.events: list[Event[Payload]] = []
        self.available = True

    async def publish(self, event: Event[Payload]) -> int:
        self._require_available()
        for sequence, stored in enumerate(self.events, start=1):
            if stored.id == event.id:
                return sequence
        headers, body = encode(event)
        self.events.append(decode(event.subject, headers, body, sequence=len(self.events) + 1))
        return len(self.events)

    async def newest(self, topic: Topic, instance_id: str) -> Event[Payload] | None:
        self._require_available()
        return next((event for event in reversed(self.of(topic)) if event.instance_id == instance_id), None)

    async def snapshot(self, topic: Topic) -> dict[str, Event[Payload]]:
        self._require_available()
        return {event.instance_id: event for event in self.of(topic)}

    def of(self, topic: Topic) -> list[Event[Payload]]:
        """Return the events of one topic, in order."""
        return [event for event in self.events if event.topic is topic]

    def _require_available(self) -> None:
        if not self.available:
            raise TransientError("the fake bus is down")
