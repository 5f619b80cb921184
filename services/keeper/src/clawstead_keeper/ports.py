"""What the keeper needs of the bus."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from clawstead_shared.messaging.dead_letters import DeadLetter
from clawstead_shared.messaging.log import Page, Stored
from clawstead_shared.notices import Notice, NoticeKind
from clawstead_shared.streams import Consumer
from clawstead_shared.topology import Change


@dataclass(frozen=True, slots=True)
class StreamState:
    """How full one stream is."""

    name: str
    messages: int
    size_bytes: int
    max_bytes: int
    last_sequence: int
    created: datetime

    @property
    def fill(self) -> float:
        """From 0 to 1."""
        return self.size_bytes / self.max_bytes if self.max_bytes > 0 else 0.0


@dataclass(frozen=True, slots=True)
class ConsumerState:
    """How far one consumer is."""

    name: str
    pending: int
    """Messages not delivered yet."""
    ack_pending: int
    """Messages delivered and not acknowledged."""
    redelivered: int
    waiting_pulls: int
    """Requests for the next message; 0 when nobody asks."""
    oldest: datetime | None
    """When the oldest message that is not acknowledged was written, None if there is none."""


class Bus(Protocol):
    """NATS, as the keeper sees it. Every method raises ``TransientError`` when the bus does not answer."""

    @property
    def connected(self) -> bool:
        """Whether the server is reachable right now."""
        ...

    def apply(self) -> AsyncIterator[Change]:
        """Make everything what its declaration says, and yield each change when it is done."""
        ...

    async def stream(self, name: str) -> StreamState | None:
        """Return how full a stream is, None if it is not there."""
        ...

    async def consumer(self, consumer: Consumer) -> ConsumerState | None:
        """Return how far a consumer is, None if it is not there."""
        ...

    async def page(self, stream: str, subject: str, *, start: int | datetime, up_to: int | None = None) -> Page:
        """Return the next messages of a stream, in its order."""
        ...

    async def message(self, sequence: int) -> Stored | None:
        """Return one message of the log, None if it is gone."""
        ...

    async def set_aside(self, letter: DeadLetter) -> bool:
        """Store a dead letter; False if it was there already."""
        ...

    async def dead_letters(self) -> dict[str, int]:
        """Return how many messages each consumer gave up; consumers without any are left out."""
        ...

    async def publish(self, notice: Notice) -> None:
        """Store a notice, once however often this is called."""
        ...

    async def newest_notice(self, kind: NoticeKind) -> datetime | None:
        """Return when the newest notice of a kind was given, None if there is none."""
        ...
