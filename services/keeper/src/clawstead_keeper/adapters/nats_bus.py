"""NATS, as the keeper sees it: keeps ``Bus``."""

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo
from nats.js.errors import NotFoundError

from clawstead_keeper.ports import ConsumerState, StreamState
from clawstead_shared import topology
from clawstead_shared.errors import TransientError
from clawstead_shared.messaging import Bus, Log, Stored
from clawstead_shared.messaging.dead_letters import DeadLetter, set_aside
from clawstead_shared.messaging.log import EVERYTHING, Page
from clawstead_shared.messaging.noticeboard import publish_notice
from clawstead_shared.notices import Notice, NoticeKind
from clawstead_shared.streams import ADVISORY_STREAM, DEAD_LETTER_STREAM, STATE_STREAM, Consumer
from clawstead_shared.subjects import DEAD_LETTER_ROOT, NOTICE_ROOT

_ANSWER_SECONDS = 2
"""Short: what was asked when the server went away is never answered, and the next look must not be late."""


class NatsBus:
    """The declared bus, through the service's own connection."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._logs = {
            stream: Log(lambda: bus.client, stream) for stream in (STATE_STREAM, ADVISORY_STREAM, DEAD_LETTER_STREAM)
        }

    @property
    def connected(self) -> bool:
        """See ``ports.Bus.connected``."""
        return self._bus.connected

    @property
    def _jetstream(self) -> JetStreamContext:
        return self._bus.client.jetstream(timeout=_ANSWER_SECONDS)

    async def apply(self) -> AsyncIterator[topology.Change]:
        """See ``ports.Bus.apply``."""
        with _translated("declaring"):
            async for change in topology.applying(self._jetstream):
                yield change

    async def stream(self, name: str) -> StreamState | None:
        """See ``ports.Bus.stream``."""
        with _translated("looking at a stream"):
            try:
                info = await self._jetstream.stream_info(name)
            except NotFoundError:
                return None
        state = info.state
        return StreamState(
            name=name,
            messages=state.messages,
            size_bytes=state.bytes,
            max_bytes=info.config.max_bytes or 0,
            last_sequence=state.last_seq,
            created=info.created or datetime.fromtimestamp(0, UTC),
        )

    async def consumer(self, consumer: Consumer) -> ConsumerState | None:
        """See ``ports.Bus.consumer``."""
        with _translated("looking at a consumer"):
            try:
                info = await self._jetstream.consumer_info(consumer.stream, consumer.durable)
            except NotFoundError:
                return None
        return ConsumerState(
            name=consumer.durable,
            pending=info.num_pending or 0,
            ack_pending=info.num_ack_pending or 0,
            redelivered=info.num_redelivered or 0,
            waiting_pulls=info.num_waiting or 0,
            oldest=await self._oldest(consumer, info),
        )

    async def _oldest(self, consumer: Consumer, info: ConsumerInfo) -> datetime | None:
        if not info.num_pending and not info.num_ack_pending:
            return None
        subjects = consumer.filter_subjects
        subject = subjects[0] if len(subjects) == 1 else EVERYTHING
        floor = info.ack_floor.stream_seq if info.ack_floor else 0
        page = await self._logs[consumer.stream].page(start=floor + 1, subject=subject, limit=1)
        return page.messages[0].stored_at if page.messages else None

    async def page(self, stream: str, subject: str, *, start: int | datetime, up_to: int | None = None) -> Page:
        """See ``ports.Bus.page``."""
        return await self._logs[stream].page(start=start, subject=subject, up_to=up_to)

    async def message(self, sequence: int) -> Stored | None:
        """See ``ports.Bus.message``."""
        page = await self._logs[STATE_STREAM].page(start=sequence, limit=1)
        return page.messages[0] if page.messages and page.messages[0].sequence == sequence else None

    async def set_aside(self, letter: DeadLetter) -> bool:
        """See ``ports.Bus.set_aside``."""
        # The stream itself recognises a copy for ten minutes only; the service may have made one before that.
        async for stored in self._logs[DEAD_LETTER_STREAM].read(subject=letter.stored_subject):
            if stored.headers.get("x-dlq-sequence") == str(letter.sequence):
                return False
        with _translated("setting aside"):
            await set_aside(self._jetstream, letter)
        return True

    async def dead_letters(self) -> dict[str, int]:
        """See ``ports.Bus.dead_letters``."""
        with _translated("counting dead letters"):
            try:
                info = await self._jetstream.stream_info(DEAD_LETTER_STREAM, subjects_filter=f"{DEAD_LETTER_ROOT}.>")
            except NotFoundError:
                return {}
        counts: Counter[str] = Counter()
        for subject, count in (info.state.subjects or {}).items():
            counts[subject.removeprefix(f"{DEAD_LETTER_ROOT}.").partition(".")[0]] += count
        return dict(counts)

    async def publish(self, notice: Notice) -> None:
        """See ``ports.Bus.publish``."""
        await publish_notice(self._jetstream, notice)

    async def newest_notice(self, kind: NoticeKind) -> datetime | None:
        """See ``ports.Bus.newest_notice``."""
        with _translated("reading notices"):
            try:
                message = await self._jetstream.get_last_msg(ADVISORY_STREAM, f"{NOTICE_ROOT}.{kind}", direct=True)
            except NotFoundError:
                return None
        return Notice.model_validate_json(message.data or b"").at


@contextlib.contextmanager
def _translated(action: str) -> Iterator[None]:
    try:
        yield
    except (NatsError, TimeoutError, OSError) as error:
        raise TransientError(f"{action}: bus did not answer ({type(error).__name__}: {error})") from error
