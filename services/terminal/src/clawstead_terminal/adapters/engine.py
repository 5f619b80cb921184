"""A small client of the Docker Engine's HTTP API on its unix socket, for what a terminal needs of it.

asyncio streams and h11 instead of the Docker SDK: a session then costs a socket and no thread, and reading
slowly holds the program up instead of filling our memory (numbers.md, section 5).
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h11

from clawstead_terminal.errors import EngineError, GoneError

CALL_SECONDS = 10.0
_READ_BYTES = 64 * 1024
_BODY_BYTES = 8 * 1024 * 1024
_ENDS = (h11.EndOfMessage, h11.ConnectionClosed)
_GONE = frozenset({404, 409})
"""No such container, or it does not run."""


@dataclass(slots=True)
class RawStream:
    """A connection that the engine has handed over: no HTTP any more, bytes both ways."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    _first: bytes

    async def read(self) -> bytes:
        """Return the next bytes, empty at the end."""
        if self._first:
            first, self._first = self._first, b""
            return first
        try:
            return await self.reader.read(_READ_BYTES)
        except ConnectionError:
            return b""

    async def write(self, data: bytes) -> None:
        """Send ``data``, waiting while the other side does not take it."""
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def close(self) -> None:
        """Close the connection; what was not sent yet is dropped."""
        self.writer.transport.abort()


class Engine:
    """One engine. Every call has a connection of its own, and a deadline."""

    def __init__(self, socket: Path) -> None:
        self._socket = str(socket)

    async def call(self, method: str, path: str, body: Any = None, *, timeout: float = CALL_SECONDS) -> Any:
        """Make one request; return its JSON, None if there is none.

        Raises:
            GoneError: the container or exec is not there, or does not run.
            EngineError: the engine refused, or did not answer in time.
        """
        async with _deadline(timeout):
            reader, writer = await asyncio.open_unix_connection(self._socket)
            try:
                connection, response = await _ask(reader, writer, method, path, body)
                data = await _read_body(connection, reader)
            finally:
                writer.transport.abort()
        _check(response, data)
        return json.loads(data) if data.strip() else None

    async def feed(self, path: str, take: Callable[[bytes], None], *, timeout: float = CALL_SECONDS) -> None:
        """Make one GET request and hand its answer to ``take`` piece by piece, keeping none of it.

        Raises:
            GoneError: the container is not there.
            EngineError: the engine refused, or did not end its answer in time.
        """
        async with _deadline(timeout):
            reader, writer = await asyncio.open_unix_connection(self._socket)
            try:
                connection, response = await _ask(reader, writer, "GET", path, None)
                if response.status_code >= 400:  # noqa: PLR2004
                    _check(response, await _read_body(connection, reader))
                while not isinstance(event := await _next_event(connection, reader), _ENDS):
                    if isinstance(event, h11.Data):
                        take(bytes(event.data))
            finally:
                writer.transport.abort()

    async def upgrade(self, path: str, body: Any, *, timeout: float = CALL_SECONDS) -> RawStream:
        """Make one request that turns its connection into a raw stream.

        Raises:
            GoneError: the container or exec is not there, or does not run.
            EngineError: the engine refused, or did not answer in time.
        """
        async with _deadline(timeout):
            reader, writer = await asyncio.open_unix_connection(self._socket)
            try:
                connection, response = await _ask(reader, writer, "POST", path, body, upgrade=True)
                if response.status_code != 101:  # noqa: PLR2004 - Switching Protocols
                    _check(response, await _read_body(connection, reader))
                    raise EngineError(f"the engine did not hand the stream over: HTTP {response.status_code}")
            except BaseException:
                writer.transport.abort()
                raise
            return RawStream(reader, writer, bytes(connection.trailing_data[0]))


async def _ask(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    method: str,
    path: str,
    body: Any,
    *,
    upgrade: bool = False,
) -> tuple[h11.Connection, h11.Response | h11.InformationalResponse]:
    connection = h11.Connection(h11.CLIENT)
    data = b"" if body is None else json.dumps(body).encode()
    headers = [("Host", "docker"), ("Content-Length", str(len(data))), ("Content-Type", "application/json")]
    headers += [("Connection", "Upgrade"), ("Upgrade", "tcp")] if upgrade else [("Connection", "close")]
    request = connection.send(h11.Request(method=method, target=path, headers=headers)) or b""
    writer.write(request + (connection.send(h11.Data(data=data)) or b""))
    connection.send(h11.EndOfMessage())
    await writer.drain()
    while True:
        event = await _next_event(connection, reader)
        if isinstance(event, h11.Response):
            return connection, event
        if isinstance(event, h11.InformationalResponse) and event.status_code == 101:  # noqa: PLR2004
            return connection, event


async def _read_body(connection: h11.Connection, reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while True:
        event = await _next_event(connection, reader)
        if isinstance(event, h11.Data):
            body += event.data
            if len(body) > _BODY_BYTES:
                raise EngineError("the engine's answer is too long")
        elif isinstance(event, _ENDS):
            return bytes(body)


async def _next_event(connection: h11.Connection, reader: asyncio.StreamReader) -> Any:
    while True:
        event = connection.next_event()
        if event is not h11.NEED_DATA:
            return event
        connection.receive_data(await reader.read(_READ_BYTES))


def _check(response: h11.Response | h11.InformationalResponse, data: bytes) -> None:
    if response.status_code < 400:  # noqa: PLR2004
        return
    try:
        message = str(json.loads(data)["message"])
    except (ValueError, KeyError, TypeError):
        message = "no message"
    kind = GoneError if response.status_code in _GONE else EngineError
    raise kind(f"HTTP {response.status_code}: {message}")


@contextlib.asynccontextmanager
async def _deadline(seconds: float) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise EngineError(f"the engine did not answer within {seconds:g} s") from error
    except (OSError, h11.RemoteProtocolError) as error:
        raise EngineError(f"the engine is not reachable: {error}") from error
