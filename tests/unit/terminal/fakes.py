"""The outside world of the gateway, in memory."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from clawstead_terminal.errors import EngineError, GoneError
from clawstead_terminal.ports import ClientGoneError
from clawstead_terminal.protocol import Size
from clawstead_terminal.records import SessionRecord


class FakeVault:
    """Keeps the promises of ``TicketVault``."""

    def __init__(self, key: bytes | None = None) -> None:
        self.published = key
        self.spent: set[str] = set()

    async def key(self) -> bytes | None:
        return self.published

    async def spend(self, ticket_id: str) -> bool:
        if ticket_id in self.spent:
            return False
        self.spent.add(ticket_id)
        return True


class FakeShell:
    """A shell whose screen and end are in the test's hands."""

    def __init__(self, size: Size) -> None:
        self.sizes = [size]
        self.keys = b""
        self.closed = False
        self.code: int | None = 0
        self._screen: asyncio.Queue[bytes] = asyncio.Queue()

    def show(self, data: bytes) -> None:
        self._screen.put_nowait(data)

    def exit(self, code: int) -> None:
        self.code = code
        self._screen.put_nowait(b"")

    async def read(self) -> bytes:
        return await self._screen.get()

    async def write(self, data: bytes) -> None:
        self.keys += data

    async def resize(self, size: Size) -> None:
        self.sizes.append(size)

    async def exit_code(self) -> int | None:
        return self.code

    async def close(self) -> None:
        self.closed = True


class FakeContainers:
    """Keeps the promises of ``Containers``, for containers named in ``running``."""

    def __init__(self) -> None:
        self.running = {"c1"}
        self.shells: dict[str, FakeShell] = {}
        self.reaped: list[str] = []
        self.available = True
        self.output: Callable[[], str] = lambda: "{}"

    async def open_shell(self, container_id: str, instance_id: str, session_id: str, size: Size) -> FakeShell:
        self._require(container_id)
        self.shells[session_id] = FakeShell(size)
        return self.shells[session_id]

    async def run(self, container_id: str, instance_id: str, session_id: str, command: Sequence[str]) -> str:
        self._require(container_id)
        return self.output()

    async def reap(self, container_id: str, session_id: str) -> None:
        if not self.available:
            raise EngineError("the fake engine is down")
        self.reaped.append(session_id)

    def _require(self, container_id: str) -> None:
        if not self.available:
            raise EngineError("the fake engine is down")
        if container_id not in self.running:
            raise GoneError("the fake container does not run")


class FakeClient:
    """A client in the test's hands."""

    remote = "203.0.113.9"
    request_id = "request-1"
    traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

    def __init__(self, *frames: str | bytes | dict[str, Any]) -> None:
        self.sent: list[str | bytes] = []
        self.closed: tuple[int, str] | None = None
        self._frames: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        for frame in frames:
            self.type(frame)

    def type(self, frame: str | bytes | dict[str, Any]) -> None:
        self._frames.put_nowait(json.dumps(frame) if isinstance(frame, dict) else frame)

    def leave(self) -> None:
        self._frames.put_nowait(None)

    @property
    def controls(self) -> list[dict[str, Any]]:
        return [json.loads(frame) for frame in self.sent if isinstance(frame, str)]

    async def receive(self) -> str | bytes:
        frame = await self._frames.get()
        if frame is None:
            raise ClientGoneError
        return frame

    async def send(self, frame: str | bytes) -> None:
        if self.closed:
            raise ClientGoneError
        self.sent.append(frame)

    async def close(self, code: int, reason: str) -> None:
        self.closed = self.closed or (code, reason)


class FakeEntry:
    """One journal entry."""

    def __init__(self, record: SessionRecord, journal: "FakeJournal") -> None:
        self.record = record
        self._journal = journal

    def update(self, record: SessionRecord) -> None:
        self.record = record

    def forget(self) -> None:
        self._journal.entries.remove(self)

    def leave(self) -> None:
        self._journal.abandoned.append(self)


class FakeJournal:
    """Keeps the promises of ``SessionJournal``."""

    def __init__(self) -> None:
        self.entries: list[FakeEntry] = []
        self.abandoned: list[FakeEntry] = []

    def open(self, record: SessionRecord) -> FakeEntry:
        entry = FakeEntry(record, self)
        self.entries.append(entry)
        return entry

    def left(self) -> Iterator[FakeEntry]:
        while self.abandoned:
            yield self.abandoned.pop()
