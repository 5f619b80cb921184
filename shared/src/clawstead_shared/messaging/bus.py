"""The bus as services see it: publish an event, read the present, consume, keep small keyed values."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import timedelta

import nats.js.errors
import structlog
from faststream.nats import NatsBroker
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.kv import KeyValue

from clawstead_shared.control import Verb
from clawstead_shared.credentials import inbox_prefix, is_refusal
from clawstead_shared.errors import StreamsMissingError, TransientError
from clawstead_shared.events import Event, MalformedEventError, Payload, decode, encode
from clawstead_shared.ids import new_event_id
from clawstead_shared.messaging.broker import DRAIN_SECONDS, disarm_error_callback, exit_at_once, make_broker
from clawstead_shared.messaging.control import Control
from clawstead_shared.messaging.delivery import Delivery, Handler
from clawstead_shared.messaging.faults import connected_once, translated
from clawstead_shared.messaging.log import Log
from clawstead_shared.messaging.pull import Pull
from clawstead_shared.messaging.replay import Batch, Plan, Replay, Replayed
from clawstead_shared.settings import BusSettings
from clawstead_shared.streams import STATE_STREAM, Consumer
from clawstead_shared.subjects import Topic, all_of, subject_of

__all__ = ["Bus", "Handler"]

log = structlog.get_logger()

_CONNECT_RETRY_SECONDS = 1.0
_UNREACHABLE = "NATS is not reachable"
_REFUSED = "NATS refuses these credentials"


class Bus:
    """One service's connection to NATS. Keeps ``EventSink`` and ``EventReader``."""

    def __init__(self, service: str, settings: BusSettings) -> None:
        """Prepare the connection.

        Raises:
            SeedFileError: the seed that the settings name cannot be used.
        """
        self._service = service
        self._closing = False
        self.problem = _UNREACHABLE
        """What is wrong, while not connected."""
        self._on_problem: Callable[[str], None] | None = None
        self.broker: NatsBroker = make_broker(service, settings, on_closed=self._on_closed, on_error=self._on_error)
        self._consumers: list[Consumer] = []
        self._pulls: list[Pull] = []
        self.log = Log(lambda: self.client)
        """The whole history."""
        self.control = Control(service)
        """What operators ask of this service."""

    def _on_closed(self) -> None:
        if not self._closing:
            exit_at_once()

    def _on_error(self, error: Exception) -> None:
        self.problem = _REFUSED if is_refusal(error) else _UNREACHABLE
        if self._on_problem:
            self._on_problem(self.problem)

    @property
    def connected(self) -> bool:
        """Whether the server is reachable right now."""
        state = self.broker.config.broker_config.connection_state
        return bool(state) and bool(self.broker.connection.is_connected)

    @property
    def client(self) -> Client:
        """The raw client, for what FastStream does not offer.

        Raises:
            TransientError: the server was not reachable yet.
        """
        with connected_once():
            client: Client = self.broker.connection
            return client

    @property
    def jetstream(self) -> JetStreamContext:
        """The raw JetStream client, for what FastStream does not offer.

        Raises:
            TransientError: the server was not reachable yet.
        """
        with connected_once():
            context: JetStreamContext = self.broker.config.broker_config.connection_state.stream
            return context

    async def connect(self, on_problem: Callable[[str], None] | None = None) -> None:
        """Connect, waiting for the server as long as it takes. Consuming starts with ``start``.

        ``on_problem`` is told each time that it fails, and why.
        """
        self._on_problem = on_problem
        while True:
            try:
                await self.broker.connect()
            except (NatsError, OSError) as error:
                log.warning("bus not reachable yet", error=str(error))
                await asyncio.sleep(_CONNECT_RETRY_SECONDS)
            else:
                self._on_problem = None
                disarm_error_callback(self.broker, self._on_error)
                return

    async def start(self) -> None:
        """Start consuming, and answering operators.

        Raises:
            StreamsMissingError: the streams or a consumer are not declared.
        """
        await self.require_streams()
        await self.broker.start()
        for pull in self._pulls:
            await pull.start(self.client, f"{inbox_prefix(self._service)}.{new_event_id()}")
        await self.control.start(self.client)

    async def require_streams(self) -> None:
        """Check that what this service needs is declared.

        Raises:
            StreamsMissingError: it is not; nats-py would silently create a consumer with wrong settings.
        """
        try:
            await self.jetstream.stream_info(STATE_STREAM)
            for consumer in self._consumers:
                await self.jetstream.consumer_info(consumer.stream, consumer.durable)
        except nats.js.errors.NotFoundError as missing:
            raise StreamsMissingError("streams are not declared: run `clawstead streams apply`") from missing
        except NatsError as error:
            raise TransientError(f"bus did not answer: {error}") from error

    async def close(self) -> None:
        """Stop pulling, let running handlers finish within their grace, flush and disconnect."""
        self._closing = True
        self.control.stop()
        await asyncio.gather(*(pull.stop(DRAIN_SECONDS) for pull in self._pulls))
        with contextlib.suppress(NatsError, OSError, TimeoutError):
            await self.broker.stop()

    def consume(
        self,
        consumer: Consumer,
        handlers: Mapping[Topic, Handler],
        *,
        plan: Plan | None = None,
        batch: Batch | None = None,
    ) -> None:
        """Bind ``handlers``, by topic, to a durable consumer; ``plan`` and ``batch`` as of ``Replayed``.

        Call before ``start``.
        """
        self._consumers.append(consumer)
        replay = Replay(self.log, Replayed(consumer, handlers, plan, batch))
        self.control.answer(Verb.REPLAY, replay.replay)
        self.control.answer(Verb.REDRIVE, replay.redrive)
        self._pulls.append(Pull(consumer, Delivery(consumer, handlers, lambda: self.jetstream)))

    def consume_raw(self, consumer: Consumer, handler: Callable[[Msg], Awaitable[None]]) -> None:
        """Bind ``handler`` to a durable consumer of what are no events; it acknowledges. Call before ``start``."""
        self._consumers.append(consumer)
        self._pulls.append(Pull(consumer, handler))

    async def publish(self, event: Event[Payload], timeout: timedelta = timedelta(seconds=5)) -> int:
        """See ``EventSink.publish``."""
        headers, body = encode(event)
        with translated("publish"):
            ack = await self.broker.publish(
                body, event.subject, headers=headers, stream=STATE_STREAM, timeout=timeout.total_seconds()
            )
        return ack.seq

    async def newest(self, topic: Topic, instance_id: str) -> Event[Payload] | None:
        """See ``EventReader.newest``."""
        subject = subject_of(topic, instance_id)
        try:
            with translated("read"):
                message = await self.jetstream.get_last_msg(STATE_STREAM, subject, direct=True)
        except nats.js.errors.NotFoundError:
            return None
        try:
            return decode(subject, message.headers, message.data or b"", sequence=message.seq)
        except MalformedEventError as error:
            log.warning("newest message is malformed, one before it counts", subject=subject, error=str(error))
            return next(reversed(await self.log.events(subject)), None)

    async def newest_generation(self, instance_id: str) -> Event[Payload] | None:
        """See ``EventReader.newest_generation``."""
        events = await self.log.events(subject_of(Topic.DESIRED, instance_id))
        return max(events, key=lambda event: event.data.generation, default=None)  # type: ignore[attr-defined]

    async def snapshot(self, topic: Topic) -> dict[str, Event[Payload]]:
        """See ``EventReader.snapshot``."""
        return {event.instance_id: event async for event in self.each_newest(topic)}

    def each_newest(self, topic: Topic) -> AsyncIterator[Event[Payload]]:
        """See ``EventReader.each_newest``."""
        return self.log.each_newest(all_of(topic))

    async def bucket(self, name: str) -> KeyValue:
        """Return a declared key-value bucket.

        Raises:
            StreamsMissingError: it is not declared.
        """
        try:
            with translated("bucket"):
                return await self.jetstream.key_value(name)
        except nats.js.errors.BucketNotFoundError as missing:
            raise StreamsMissingError(f"bucket {name} is not declared: run `clawstead streams apply`") from missing

    async def keys(self, bucket: str) -> list[str]:
        """Return the keys of a bucket, also of those that were deleted.

        Not nats-py's way, which makes a consumer: whoever may make one can have the server publish anything anywhere.

        Raises:
            StreamsMissingError: the bucket is not declared.
            TransientError: the bus did not answer in time.
        """
        prefix = f"$KV.{bucket}."
        try:
            with translated("keys"):
                info = await self.jetstream.stream_info(f"KV_{bucket}", subjects_filter=f"{prefix}>")
        except nats.js.errors.NotFoundError as missing:
            raise StreamsMissingError(f"bucket {bucket} is not declared: run `clawstead streams apply`") from missing
        return sorted(subject.removeprefix(prefix) for subject in info.state.subjects or {})
