"""Pulling the messages of one consumer, a few in hand at a time.

Not the framework's subscriber: between a message's arrival and its handler that takes a millisecond and a half of
queues, tasks and parsing, for which an edge that has a new route in two has no time. This takes two turns of the loop.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from opentelemetry import propagate, trace

from clawstead_shared.streams import Consumer

log = structlog.get_logger()
tracer = trace.get_tracer("clawstead.messaging")

_PULL_SECONDS = 1.0
"""After a server restart a consumer is deaf for the rest of its pull, so pulls are short (bus.md, section 3)."""
_SILENCE_SECONDS = 0.5
"""How much longer than that the server may take to say that nothing came."""
_NOBODY_ANSWERS_SECONDS = 0.25
_NOTHING_CAME = {"404", "408"}

_REQUEST = json.dumps({"batch": 1, "expires": round(_PULL_SECONDS * 1e9)}).encode()

Take = Callable[[Msg], Awaitable[None]]


class Pull:
    """Asks for one message at a time, whenever there is room to handle one, and has each handled in a task."""

    def __init__(self, consumer: Consumer, take: Take) -> None:
        self._consumer = consumer
        self._take = take
        self._in_hand: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._room.set()
        self._answered: asyncio.Future[str | None] | None = None
        self._asking: asyncio.Task[None] | None = None

    async def start(self, client: Client, inbox: str) -> None:
        """Begin; what comes arrives on ``inbox``."""
        await client.subscribe(inbox, cb=self._on_message)
        self._asking = asyncio.create_task(self._ask(client, inbox), name=f"pull-{self._consumer.durable}")

    async def stop(self, grace_seconds: float) -> None:
        """Ask for no more, and let what is in hand be handled; what takes longer is cut and comes again."""
        if self._asking:
            self._asking.cancel()
            await asyncio.wait({self._asking})
        if self._in_hand:
            _, late = await asyncio.wait(self._in_hand, timeout=grace_seconds)
            for task in late:
                task.cancel()

    async def _ask(self, client: Client, inbox: str) -> None:
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self._consumer.stream}.{self._consumer.durable}"
        while True:
            await self._room.wait()
            self._answered = asyncio.get_running_loop().create_future()
            try:
                await client.publish(subject, _REQUEST, reply=inbox)
                async with asyncio.timeout(_PULL_SECONDS + _SILENCE_SECONDS):
                    problem = await self._answered
            except TimeoutError:
                continue
            except Exception as error:  # whatever the client raises while it reconnects, the pulls go on
                problem = repr(error)
            if problem:
                # Whoever declares the bus makes the consumer anew, and the pulls go on.
                log.debug("nothing to pull from", consumer=self._consumer.durable, problem=problem)
                await asyncio.sleep(_NOBODY_ANSWERS_SECONDS)

    async def _on_message(self, message: Msg) -> None:
        status = (message.headers or {}).get("Status") if not message.reply else None
        if status is None:
            task = asyncio.create_task(self._handle(message), name=f"handle-{self._consumer.durable}")
            self._in_hand.add(task)
            task.add_done_callback(self._done)
            self._count()
        if self._answered and not self._answered.done():
            self._answered.set_result(None if status is None or status in _NOTHING_CAME else status)

    async def _handle(self, message: Msg) -> None:
        context = propagate.extract(message.headers or {})
        name = f"{message.subject} process"
        with tracer.start_as_current_span(name, context=context, kind=trace.SpanKind.CONSUMER):
            await self._take(message)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._in_hand.discard(task)
        self._count()
        if not task.cancelled() and (error := task.exception()):
            log.error("a message was not brought to its end, and comes again", error=repr(error), exc_info=error)

    def _count(self) -> None:
        # An answer to an earlier pull may come late, so there may be one more in hand than there is room for.
        if len(self._in_hand) < self._consumer.concurrency:
            self._room.set()
        else:
            self._room.clear()
