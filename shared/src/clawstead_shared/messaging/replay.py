"""Handling the log again: page by page, when an operator asks for it, beside what is new.

Handlers look at the newest state of an instance whatever the event says, so only the newest event of every
instance and topic is handled, by the page that holds it, many at once. A service whose every event counts, as for a
history, takes whole pages in order instead (``Replayed.batch``).
"""

import asyncio
import base64
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from clawstead_shared.control import Effect, Failure, RedriveRequest, ReplayReport, ReplayRequest
from clawstead_shared.errors import HandlingError
from clawstead_shared.events import Event, MalformedEventError, Payload, decode
from clawstead_shared.messaging.control import RefusedError
from clawstead_shared.messaging.delivery import Handler
from clawstead_shared.messaging.log import EVERYTHING, Log
from clawstead_shared.streams import Consumer
from clawstead_shared.subjects import ROOT, Topic, all_of, subject_of

log = structlog.get_logger()

Events = Sequence[Event[Payload]]
Plan = Callable[[Events], Awaitable[Sequence[Effect]]]
Batch = Callable[[Events], Awaitable[None]]

_HANDLER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Replayed:
    """How one consumer's events are handled again."""

    consumer: Consumer
    handlers: Mapping[Topic, Handler]
    plan: Plan | None = None
    """What handling these events would do, doing nothing."""
    batch: Batch | None = None
    """Handles a page at once and in order; without it each instance's newest events go to ``handlers``."""


class Replay:
    """Answers ``replay`` and ``redrive`` for one consumer."""

    def __init__(self, stored: Log, replayed: Replayed) -> None:
        self._log = stored
        self._replayed = replayed
        self._up_to = 0
        self._newest: dict[str, int] = {}
        """Of the replay up to ``_up_to``: by subject the sequence that a page will handle, 0 if none is known to."""

    async def replay(self, request: bytes) -> ReplayReport:
        """Handle one page of the log, or say what that would do.

        Raises:
            RefusedError: this service cannot say what it would do.
            TransientError: the bus did not answer.
        """
        asked = ReplayRequest.model_validate_json(request)
        page = await self._log.page(
            start=asked.start, up_to=asked.up_to, subject=self._subject(asked.instance_id), limit=asked.limit
        )
        topics = self._replayed.consumer.topics
        events: list[Event[Payload]] = []
        failures: list[Failure] = []
        for message in page.messages:
            try:
                event = message.event()
            except MalformedEventError as error:
                failures.append(Failure(sequence=message.sequence, error=str(error)))
            else:
                if event.topic in topics:
                    events.append(event)
        if page.left and self._replayed.batch is None:
            events = await self._left_to_this_page(events, asked.up_to)
        else:
            self._newest = {}
        effects: Sequence[Effect] = ()
        if asked.dry_run:
            effects = await self._planned(events)
        else:
            failures += await self._handled(events)
        following = page.messages[-1].sequence + 1 if page.left and page.messages else None
        return ReplayReport(
            next=following,
            read=len(page.messages),
            handled=len(page.messages) - len(failures),
            failures=tuple(failures),
            effects=tuple(effects),
        )

    async def redrive(self, request: bytes) -> ReplayReport:
        """Handle one message again that was set aside, as if it had just come.

        Raises:
            RefusedError: it is malformed, or handling it failed again.
        """
        asked = RedriveRequest.model_validate_json(request)
        try:
            event = decode(asked.subject, asked.headers, base64.b64decode(asked.body), sequence=asked.sequence)
        except MalformedEventError as error:
            raise RefusedError(f"it is still malformed: {error}", hint="drop it, or update the service") from error
        if failures := await self._handled([event]):
            raise RefusedError(f"it failed again: {failures[0].error}")
        return ReplayReport(next=None, read=1, handled=1)

    async def _left_to_this_page(self, events: Events, up_to: int) -> list[Event[Payload]]:
        """Leave out what a later page of the same replay looks at: its event of that subject is newer."""
        if self._up_to != up_to:
            self._up_to, self._newest = up_to, {}
        unknown = {event.subject for event in events} - self._newest.keys()
        self._newest |= dict.fromkeys(unknown, 0)
        for message in await self._log.newest_of(unknown):
            with contextlib.suppress(MalformedEventError):
                if message.sequence <= up_to:
                    self._newest[message.event().subject] = message.sequence
        return [event for event in events if self._newest[event.subject] <= (event.sequence or 0)]

    def _subject(self, instance_id: str | None) -> str:
        topics = self._replayed.consumer.topics
        if instance_id is not None:
            return subject_of(topics[0], instance_id) if len(topics) == 1 else f"{ROOT}.*.{instance_id}"
        return all_of(topics[0]) if len(topics) == 1 else EVERYTHING

    async def _planned(self, events: Events) -> Sequence[Effect]:
        if self._replayed.plan is None:
            raise RefusedError("this service cannot say beforehand what it would do")
        return await self._replayed.plan(events)

    async def _handled(self, events: Events) -> list[Failure]:
        if self._replayed.batch is not None:
            try:
                await self._replayed.batch(events)
            except HandlingError as error:
                return [Failure(sequence=event.sequence or 0, error=str(error)) for event in events]
            return []
        newest = {(event.topic, event.instance_id): event for event in events}
        places = asyncio.Semaphore(self._replayed.consumer.concurrency)
        results = await asyncio.gather(*(self._handle(event, places) for event in newest.values()))
        return [failure for failure in results if failure]

    async def _handle(self, event: Event[Payload], places: asyncio.Semaphore) -> Failure | None:
        try:
            async with places, asyncio.timeout(_HANDLER_SECONDS):
                await self._replayed.handlers[event.topic](event)
        except (HandlingError, TimeoutError) as error:
            return Failure(sequence=event.sequence or 0, error=str(error) or "it is still being worked on")
        except Exception as error:
            log.exception("handler failed", instance_id=event.instance_id, replay=True)
            return Failure(sequence=event.sequence or 0, error=repr(error))
        return None
