"""One message from arrival to verdict: decode, handle, and tell the bus how it went.

handled            ack
TransientError     nak with a delay; a plain nak would storm, since it ignores the backoff
anything else      the same, until the consumer's deliveries are used up
PermanentError,    copy to the dead-letter stream with the reason, then term: the others go on
malformed, used up
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from prometheus_client import Counter, Histogram

from clawstead_shared.errors import PermanentError, TransientError
from clawstead_shared.events import Event, MalformedEventError, decode
from clawstead_shared.messaging.dead_letters import DeadLetter, set_aside
from clawstead_shared.streams import Consumer
from clawstead_shared.subjects import Topic

Handler = Callable[[Event[Any]], Awaitable[None]]

log = structlog.get_logger()

MESSAGES = Counter("clawstead_messages_total", "Messages handled, by verdict", ["consumer", "verdict"])
HANDLING = Histogram("clawstead_handling_seconds", "Time in the handler", ["consumer"])
LATENCY = Histogram(
    "clawstead_delivery_latency_seconds",
    "From an event's creation to the start of its first handling",
    ["consumer"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30, 300),
)

_FRESH = timedelta(seconds=1)
"""For how long after it was stored a message may be taken for the last word."""


class Delivery:
    """Handles the messages of one consumer."""

    def __init__(
        self,
        consumer: Consumer,
        handlers: Mapping[Topic, Handler],
        jetstream: Callable[[], JetStreamContext],
    ) -> None:
        self._consumer = consumer
        self._handlers = handlers
        self._jetstream = jetstream

    async def __call__(self, message: Msg) -> None:
        """Bring one message to its verdict. Never raises for what the message or its handler did."""
        delivered = message.metadata.num_delivered
        with structlog.contextvars.bound_contextvars(subject=message.subject, delivery=delivered):
            try:
                event = read(message)
                if delivered == 1:
                    age = datetime.now(UTC) - event.time
                    LATENCY.labels(self._consumer.durable).observe(max(age.total_seconds(), 0))
                await self._handle(message, event)
            except (MalformedEventError, PermanentError) as error:
                await self._give_up(message, str(error), kind=type(error).__name__)
            except TransientError as error:
                await self._retry(message, str(error), error.retry_after)
            except Exception as error:
                log.exception("handler failed")
                await self._retry(message, repr(error), None)
            else:
                await message.ack()
                MESSAGES.labels(self._consumer.durable, "ack").inc()

    async def _handle(self, message: Msg, event: Event[Any]) -> None:
        with structlog.contextvars.bound_contextvars(instance_id=event.instance_id, event_id=event.id):
            started = time.perf_counter()
            async with in_progress(message, every=self._consumer.ack_wait / 3):
                await self._handlers[event.topic](event)
            HANDLING.labels(self._consumer.durable).observe(time.perf_counter() - started)

    async def _retry(self, message: Msg, error: str, retry_after: timedelta | None) -> None:
        delivered = message.metadata.num_delivered
        if delivered >= self._consumer.max_deliver:
            await self._give_up(message, error, kind="DeliveriesExhausted")
            return
        delays = self._consumer.retry_delays
        delay = retry_after or delays[min(delivered, len(delays)) - 1]
        log.warning("message will be retried", error=error, delay_seconds=delay.total_seconds())
        await message.nak(delay=delay.total_seconds())
        MESSAGES.labels(self._consumer.durable, "retry").inc()

    async def _give_up(self, message: Msg, error: str, *, kind: str) -> None:
        sequence = message.metadata.sequence.stream
        letter = DeadLetter(
            consumer=self._consumer.durable,
            sequence=sequence,
            subject=message.subject,
            headers=message.headers or {},
            body=message.data,
            kind=kind,
            reason=error,
        )
        await set_aside(self._jetstream(), letter)
        await message.term()
        log.error("message set aside as dead letter", error=error, kind=kind, sequence=sequence)
        MESSAGES.labels(self._consumer.durable, "dead_letter").inc()


def read(message: Msg) -> Event[Any]:
    """Read a message that was delivered.

    Raises:
        MalformedEventError: it is no event.
    """
    told = message.metadata
    # What was delivered before may have been followed by others that were delivered, too; and so may what lay
    # here while this process was halted.
    fresh = abs(datetime.now(UTC) - told.timestamp) < _FRESH
    newest = fresh and told.num_delivered == 1 and told.num_pending == 0
    return decode(message.subject, message.headers, message.data, sequence=told.sequence.stream, newest=newest)


@contextlib.asynccontextmanager
async def in_progress(message: Msg, *, every: timedelta) -> AsyncIterator[None]:
    """Keep the server from redelivering ``message`` while the block runs, however long it takes."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(every.total_seconds())
            await message.in_progress()

    heart = asyncio.create_task(beat(), name="in-progress")
    try:
        yield
    finally:
        heart.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await heart
