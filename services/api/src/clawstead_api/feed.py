"""The live feed: every event once, in the stream's order, to any number of clients.

The newest events are kept in one bounded ring. A client is only a cursor: it reads the ring when the ring
reaches back far enough, else the database. So a client that was away, or is slow, costs no memory and misses
nothing; one that takes nothing at all is cut by the response's send timeout.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass

from clawstead_api.errors import TooManyStreamsError
from clawstead_api.tables import Event
from clawstead_api.views import event_view
from clawstead_shared.events import Phase

MAX_STREAMS = 512
RING_EVENTS = 1024
PAGE = 100
_RECHECK_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Item:
    """One event, rendered once for all clients."""

    sequence: int
    instance_id: str
    owner_id: str | None
    topic: str
    json: str
    last_of_instance: bool
    """Nothing follows the removal of an instance."""


@dataclass(frozen=True, slots=True)
class Interest:
    """Which events a client follows."""

    owner_id: str
    instance_id: str | None = None

    def matches(self, item: Item) -> bool:
        """Say whether the client may and wants to see ``item``."""
        return item.owner_id == self.owner_id and self.instance_id in {None, item.instance_id}


Fetch = Callable[[Interest, int, int], Awaitable[Sequence[Event]]]
"""Reads at most n stored events after a sequence, oldest first."""


def item_of(row: Event) -> Item:
    """Render one stored event."""
    return Item(
        sequence=row.sequence,
        instance_id=row.instance_id,
        owner_id=row.owner_id,
        topic=row.topic,
        json=event_view(row).model_dump_json(exclude_none=True),
        last_of_instance=row.data.get("phase") == Phase.REMOVED,
    )


class Feed:
    """The ring, and the clients that wait for it to grow."""

    def __init__(self, fetch: Fetch, *, ring_events: int = RING_EVENTS, max_streams: int = MAX_STREAMS) -> None:
        self._fetch = fetch
        self._ring: deque[Item] = deque(maxlen=ring_events)
        self._floor: int | None = None
        self._newest: int | None = None
        self._waiting: set[asyncio.Event] = set()
        self._max_streams = max_streams
        self._closed = False

    def lacks(self, sequence: int) -> bool:
        """Say whether an event is newer than all that was announced; nothing is before ``open_at``."""
        return self._newest is not None and sequence > self._newest

    @property
    def newest(self) -> int:
        """The number of the newest event that was announced."""
        return self._newest or 0

    def open_at(self, newest: int) -> None:
        """Say that all events up to ``newest`` are in the database; later ones will be announced."""
        self._floor = self._newest = newest

    def announce(self, row: Event) -> None:
        """Add an event that was committed just now."""
        if len(self._ring) == self._ring.maxlen:
            self._floor = self._ring[0].sequence
        self._ring.append(item_of(row))
        self._newest = max(row.sequence, self._newest or 0)
        for waiter in self._waiting:
            waiter.set()

    async def close(self) -> None:
        """End every stream, and refuse new ones."""
        self._closed = True
        for waiter in self._waiting:
            waiter.set()

    async def follow(self, interest: Interest, after: int | None) -> AsyncGenerator[Item, None]:
        """Yield events after sequence ``after`` (None: from now on) until the feed or the instance ends.

        Raises:
            TooManyStreamsError: as many clients as this process serves follow already.
            DatabaseUnavailableError: older events cannot be read now.
        """
        cursor = after if after is not None else self._newest or 0
        with self._waiter() as grown:
            while not self._closed:
                grown.clear()
                items, cursor = await self._next(interest, cursor)
                for item in items:
                    yield item
                    if item.last_of_instance and interest.instance_id:
                        return
                if not items:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(grown.wait(), _RECHECK_SECONDS)

    def require_room(self) -> None:
        """Refuse a client that would be one too many, while it can still be told so.

        Raises:
            TooManyStreamsError: as many clients as this process serves follow already, or it is stopping.
        """
        if self._closed or len(self._waiting) >= self._max_streams:
            raise TooManyStreamsError

    @contextlib.contextmanager
    def _waiter(self) -> Iterator[asyncio.Event]:
        grown = asyncio.Event()
        self._waiting.add(grown)
        try:
            yield grown
        finally:
            self._waiting.discard(grown)

    async def _next(self, interest: Interest, cursor: int) -> tuple[list[Item], int]:
        newest = self._newest
        if self._floor is not None and cursor >= self._floor:
            items = [item for item in self._ring if item.sequence > cursor and interest.matches(item)]
            return items, max(cursor, newest or 0)
        items = [item_of(row) for row in await self._fetch(interest, cursor, PAGE)]
        if len(items) == PAGE:
            return items, items[-1].sequence
        # All that was announced before the query is in its answer, whether or not it interests this client.
        return items, max(cursor, newest or 0, items[-1].sequence if items else 0)
