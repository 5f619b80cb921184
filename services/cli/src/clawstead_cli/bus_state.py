"""What there is to see of the bus: how full the streams are, how far consumers are behind, what was set aside.

Reads only. What ``clawstead streams show``, ``status`` and ``doctor`` know of the bus comes from here.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import nats.js.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo
from pydantic import ValidationError

from clawstead_cli.adapters.jetstream import connected_client, jetstream_of
from clawstead_cli.deadline import Deadline
from clawstead_cli.nats_errors import explained
from clawstead_cli.settings import BusAddress
from clawstead_shared.messaging.log import EVERYTHING, Log
from clawstead_shared.notices import Notice
from clawstead_shared.streams import (
    ADVISORY_STREAM,
    BUCKETS,
    CONSUMERS,
    DEAD_LETTER_STREAM,
    STATE_STREAM,
    STREAMS,
    Consumer,
)
from clawstead_shared.subjects import DEAD_LETTER_ROOT, NOTICE_ROOT

_RECENT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class StreamState:
    """How full one stream, or the stream of a bucket, is. ``max_bytes`` 0 is no bound."""

    name: str
    declared: bool
    messages: int = 0
    size_bytes: int = 0
    max_bytes: int = 0
    last_sequence: int = 0

    @property
    def fill(self) -> float:
        """Bytes taken of bytes allowed, from 0 to 1; 0 where there is no bound."""
        return self.size_bytes / self.max_bytes if self.max_bytes else 0.0


@dataclass(frozen=True, slots=True)
class ConsumerState:
    """How far one consumer is behind."""

    name: str
    declared: bool
    pending: int = 0
    """Not yet delivered."""
    unacknowledged: int = 0
    """Delivered, and being worked on or waiting for a retry."""
    redelivered: int = 0
    oldest_pending_seconds: float | None = None
    """Age of the oldest event that is not taken care of, None when all are."""
    dead_letters: int = 0
    """What it gave up and nobody has redriven or dropped."""


@dataclass(frozen=True, slots=True)
class BusState:
    """The bus at one moment."""

    streams: list[StreamState]
    consumers: list[ConsumerState]
    notices: list[Notice]
    """Those of the last day, oldest first."""

    @property
    def dead_letters(self) -> int:
        """All of them, whoever gave them up."""
        return sum(consumer.dead_letters for consumer in self.consumers)


async def look(bus: BusAddress, deadline: Deadline) -> BusState:
    """Connect to the bus and look at all of it.

    Raises:
        UnreachableError: NATS does not answer.
        CommandError: NATS refused.
    """
    async with connected_client(bus, deadline) as client:
        with explained():
            return BusState(await stream_states(client), await consumer_states(client), await recent_notices(client))


async def stream_states(client: Client) -> list[StreamState]:
    """Return the state of every stream that should be there, those of the buckets too."""
    names = [stream.name for stream in STREAMS] + [f"KV_{bucket.name}" for bucket in BUCKETS]
    jetstream = jetstream_of(client)
    return [await _stream_state(jetstream, name) for name in names]


async def consumer_states(client: Client) -> list[ConsumerState]:
    """Return the state of every consumer that should be there."""
    dead, now = await dead_letters(client), datetime.now(UTC)
    return [await _consumer_state(client, consumer, dead.get(consumer.durable, 0), now) for consumer in CONSUMERS]


async def dead_letters(client: Client) -> dict[str, int]:
    """Return how many messages each consumer gave up; consumers without any are left out."""
    try:
        info = await jetstream_of(client).stream_info(DEAD_LETTER_STREAM, subjects_filter=f"{DEAD_LETTER_ROOT}.>")
    except nats.js.errors.NotFoundError:
        return {}
    counts: dict[str, int] = {}
    for subject, count in (info.state.subjects or {}).items():
        durable = subject.removeprefix(f"{DEAD_LETTER_ROOT}.").partition(".")[0]
        counts[durable] = counts.get(durable, 0) + count
    return counts


async def recent_notices(client: Client, within: timedelta = _RECENT) -> list[Notice]:
    """Return what operators were told lately, oldest first; what is no notice is left out."""
    notices: list[Notice] = []
    try:
        await jetstream_of(client).stream_info(ADVISORY_STREAM)
    except nats.js.errors.NotFoundError:
        return notices
    start = datetime.now(UTC) - within
    async for message in Log(lambda: client, ADVISORY_STREAM).read(start=start, subject=f"{NOTICE_ROOT}.>"):
        try:
            notices.append(Notice.model_validate_json(message.body))
        except ValidationError:
            continue
    return notices


async def _stream_state(jetstream: JetStreamContext, name: str) -> StreamState:
    try:
        info = await jetstream.stream_info(name)
    except nats.js.errors.NotFoundError:
        return StreamState(name, declared=False)
    state, limit = info.state, info.config.max_bytes or 0
    return StreamState(name, True, state.messages, state.bytes, max(limit, 0), state.last_seq)


async def _consumer_state(client: Client, consumer: Consumer, dead: int, now: datetime) -> ConsumerState:
    try:
        info = await jetstream_of(client).consumer_info(STATE_STREAM, consumer.durable)
    except nats.js.errors.NotFoundError:
        return ConsumerState(consumer.durable, declared=False, dead_letters=dead)
    return ConsumerState(
        consumer.durable,
        declared=True,
        pending=info.num_pending or 0,
        unacknowledged=info.num_ack_pending or 0,
        redelivered=info.num_redelivered or 0,
        oldest_pending_seconds=await _oldest_pending(client, consumer, info, now),
        dead_letters=dead,
    )


async def _oldest_pending(client: Client, consumer: Consumer, info: ConsumerInfo, now: datetime) -> float | None:
    if not (info.num_pending or info.num_ack_pending):
        return None
    acknowledged = info.ack_floor.stream_seq if info.ack_floor else 0
    subjects = consumer.filter_subjects
    page = await Log(lambda: client).page(
        start=acknowledged + 1, subject=subjects[0] if len(subjects) == 1 else EVERYTHING, limit=1
    )
    if not page.messages:
        return None
    return max(0.0, (now - page.messages[0].stored_at).total_seconds())
