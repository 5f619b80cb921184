"""What handlers may ask of the bus. ``Bus`` keeps these promises on NATS, ``tests.support`` in memory."""

from collections.abc import AsyncIterator
from typing import Protocol

from clawstead_shared.events import Event, Payload
from clawstead_shared.subjects import Topic


class EventSink(Protocol):
    """Where a service publishes its own topic."""

    async def publish(self, event: Event[Payload]) -> int:
        """Store ``event`` durably and return its stream sequence.

        Publishing the same event id again within ten minutes stores nothing and returns the first sequence.

        Raises:
            TransientError: the bus did not confirm in time; the event may or may not be stored, so the
                caller publishes the same event again.
        """
        ...


class EventReader(Protocol):
    """Where a handler learns the present."""

    async def newest(self, topic: Topic, instance_id: str) -> Event[Payload] | None:
        """Return the newest event of one topic and instance, None if there never was one.

        Malformed ones do not count.

        Raises:
            TransientError: the bus did not answer in time.
        """
        ...

    async def newest_generation(self, instance_id: str) -> Event[Payload] | None:
        """Return the desired state with the highest generation, wherever it is in the log; None if there is none.

        For who finds the newest one older than what it knows: a message may come twice, the second time late.

        Raises:
            TransientError: the bus did not answer in time.
        """
        ...

    async def snapshot(self, topic: Topic) -> dict[str, Event[Payload]]:
        """Return the newest event of every instance of one topic, by instance id. Malformed ones do not count.

        Raises:
            TransientError: the bus did not answer in time.
        """
        ...

    def each_newest(self, topic: Topic) -> AsyncIterator[Event[Payload]]:
        """Yield the events of ``snapshot`` one by one, for who keeps less of each: thousands are tens of megabytes.

        Raises:
            TransientError: the bus did not answer in time.
        """
        ...
