"""Reading the log: by sequence or time, all of it or one instance, in pages, without a consumer.

Direct batched reads (nats-server 2.11, ADR-31) leave nothing behind on the server and need no right to
create anything; about 25,000 messages a second were measured.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from clawstead_shared.errors import TransientError
from clawstead_shared.events import Event, MalformedEventError, Payload, decode
from clawstead_shared.streams import STATE_STREAM
from clawstead_shared.subjects import ROOT

log = structlog.get_logger()

EVERYTHING = f"{ROOT}.>"
PAGE = 1000
_STALL_SECONDS = 5.0
_SEQUENCE = "Nats-Sequence"
_ADDED = {
    *(_SEQUENCE, "Nats-Subject", "Nats-Time-Stamp", "Nats-Stream"),
    *("Nats-Num-Pending", "Nats-Last-Sequence", "Nats-UpTo-Sequence"),
}
"""Headers of the answer, not of the message. The server writes them behind the message's own, so they win."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One message as the stream holds it, whether or not it is an event of ours."""

    sequence: int
    subject: str
    stored_at: datetime
    """When the server took it (UTC)."""
    headers: Mapping[str, str]
    body: bytes

    def event(self) -> Event[Payload]:
        """Read it as an event.

        Raises:
            MalformedEventError: it is none.
        """
        return decode(self.subject, self.headers, self.body, sequence=self.sequence)


@dataclass(frozen=True, slots=True)
class Page:
    """Messages in the order of the log, and how many more match."""

    messages: list[Stored]
    left: int


class Log:
    """One stream, read only."""

    def __init__(self, client: Callable[[], Client], stream: str = STATE_STREAM) -> None:
        self._client = client
        self._stream = stream

    async def page(
        self, *, start: int | datetime = 1, subject: str = EVERYTHING, up_to: int | None = None, limit: int = PAGE
    ) -> Page:
        """Return at most ``limit`` messages from ``start`` on, none after the sequence ``up_to``.

        Raises:
            TransientError: the bus did not answer in time.
        """
        since = {"start_time": start.isoformat()} if isinstance(start, datetime) else {"seq": start}
        try:
            messages, left = await self._request({**since, "next_by_subj": subject, "batch": limit})
        except (NatsError, TimeoutError, OSError) as error:
            raise TransientError(f"reading the log: bus did not answer ({type(error).__name__})") from error
        if up_to is not None and messages and messages[-1].sequence >= up_to:
            return Page([message for message in messages if message.sequence <= up_to], 0)
        return Page(messages, left)

    async def read(
        self, *, start: int | datetime = 1, subject: str = EVERYTHING, up_to: int | None = None
    ) -> AsyncIterator[Stored]:
        """Yield every message from ``start`` on, up to the end as it is when that is reached.

        Raises:
            TransientError: the bus did not answer in time.
        """
        while True:
            page = await self.page(start=start, subject=subject, up_to=up_to)
            for message in page.messages:
                yield message
            if not page.left or not page.messages:
                return
            start = page.messages[-1].sequence + 1

    async def newest(self, subject: str = EVERYTHING) -> list[Stored]:
        """Return the newest message of every subject that ``subject`` matches; the server tells 100,000 subjects.

        Raises:
            TransientError: the bus did not answer in time.
        """
        return await self.newest_of(await self._subjects(subject))

    async def newest_of(self, subjects: Collection[str]) -> list[Stored]:
        """Return the newest message of each of ``subjects``, of which there may be thousands.

        Raises:
            TransientError: the bus did not answer in time.
        """
        return [message async for page in self._pages_of(subjects) for message in page]

    async def events(self, subject: str) -> list[Event[Payload]]:
        """Return the events of one subject, oldest first; what is malformed does not count.

        Raises:
            TransientError: the bus did not answer in time.
        """
        found: list[Event[Payload]] = []
        async for message in self.read(subject=subject):
            with contextlib.suppress(MalformedEventError):
                found.append(message.event())
        return found

    async def newest_events(self, subject: str = EVERYTHING) -> list[Event[Payload]]:
        """Return the newest event of every subject that ``subject`` matches; what is malformed does not count.

        Raises:
            TransientError: the bus did not answer in time.
        """
        return [event async for event in self.each_newest(subject)]

    async def each_newest(self, subject: str = EVERYTHING) -> AsyncIterator[Event[Payload]]:
        """Yield what ``newest_events`` returns one by one, for who keeps less of each than the event.

        Raises:
            TransientError: the bus did not answer in time.
        """
        async for event in self._newest_events_of(await self._subjects(subject)):
            yield event

    async def newest_events_of(self, subjects: Collection[str]) -> list[Event[Payload]]:
        """Return the newest event of each of ``subjects``; what is malformed does not count.

        Raises:
            TransientError: the bus did not answer in time.
        """
        return [event async for event in self._newest_events_of(subjects)]

    async def _pages_of(self, subjects: Collection[str]) -> AsyncIterator[list[Stored]]:
        wanted = sorted(set(subjects))
        for first in range(0, len(wanted), PAGE):
            try:
                page = await self._last_of(set(wanted[first : first + PAGE]))
            except (NatsError, TimeoutError, OSError) as error:
                raise TransientError(f"reading the log: bus did not answer ({type(error).__name__})") from error
            yield page

    async def _newest_events_of(self, subjects: Collection[str]) -> AsyncIterator[Event[Payload]]:
        # Page by page: thousands of messages beside what is made of them are much memory for a moment.
        async for page in self._pages_of(subjects):
            for message in page:
                try:
                    event = message.event()
                except MalformedEventError as error:
                    log.warning(
                        "newest message is malformed, one before it counts", subject=message.subject, error=str(error)
                    )
                    for before in (await self.events(message.subject))[-1:]:
                        yield before
                else:
                    yield event

    async def _last_of(self, subjects: set[str]) -> list[Stored]:
        found: list[Stored] = []
        while subjects:
            messages, _ = await self._request({"multi_last": sorted(subjects), "batch": PAGE})
            if not messages:
                break
            found += messages
            # The server cuts an answer that would be too large.
            subjects -= {message.subject for message in messages}
        return found

    async def _subjects(self, subject: str) -> set[str]:
        try:
            info = await self._client().jetstream().stream_info(self._stream, subjects_filter=subject)
        except (NatsError, TimeoutError, OSError) as error:
            raise TransientError(f"reading the log: bus did not answer ({type(error).__name__})") from error
        return set(info.state.subjects or {})

    async def last_sequence(self) -> int:
        """Return the sequence of the newest message, 0 in an empty log.

        Raises:
            TransientError: the bus did not answer in time.
        """
        page = await self._last()
        return page[-1].sequence if page else 0

    async def _last(self) -> list[Stored]:
        try:
            messages, _ = await self._request({"last_by_subj": EVERYTHING})
        except (NatsError, TimeoutError, OSError) as error:
            raise TransientError(f"reading the log: bus did not answer ({type(error).__name__})") from error
        return messages

    async def _request(self, query: Mapping[str, Any]) -> tuple[list[Stored], int]:
        client = self._client()
        inbox = client.new_inbox()
        # The client's own way to wait for a message makes two tasks for each, and there are thousands.
        messages: asyncio.Queue[Msg] = asyncio.Queue()
        subscription = await client.subscribe(inbox, cb=messages.put)
        found: list[Stored] = []
        try:
            await client.publish(f"$JS.API.DIRECT.GET.{self._stream}", json.dumps(query).encode(), reply=inbox)
            while True:
                async with asyncio.timeout(_STALL_SECONDS):
                    message = await messages.get()
                headers = message.headers or {}
                if _SEQUENCE not in headers:  # what is stored may have a Status of its own, and ends nothing
                    _require_stream(headers, self._stream)
                    return found, int(headers.get("Nats-Num-Pending", "0"))
                found.append(_stored(message))
                if "batch" not in query:
                    return found, 0
        finally:
            await subscription.unsubscribe()


def _require_stream(headers: Mapping[str, str], stream: str) -> None:
    if headers.get("Status") == "503":
        raise TransientError(f"there is no stream {stream}: `clawstead streams apply` declares it")


def _stored(message: Msg) -> Stored:
    headers = dict(message.headers or {})
    return Stored(
        sequence=int(headers[_SEQUENCE]),
        subject=headers["Nats-Subject"],
        stored_at=datetime.fromisoformat(headers["Nats-Time-Stamp"]),
        headers={name: value for name, value in headers.items() if name not in _ADDED},
        body=message.data,
    )
