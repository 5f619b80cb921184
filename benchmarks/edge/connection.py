"""One kept HTTP connection with as little of its own cost as can be, as it is within what is measured."""

import asyncio
import contextlib
import ssl
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


class Connection:
    """Asks one server, plain or behind TLS; it connects when it must."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None, name: str | None = None) -> None:
        self.port = port
        self._tls = tls
        self._name = name
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, host: str, target: str = "GET /", headers: str = "", body: bytes = b"") -> Answer:
        """Return the answer.

        Raises:
            OSError: the server is not there, or has closed the connection.
            EOFError: the same.
        """
        try:
            if self._streams is None or self._streams[0].at_eof():
                self.close()
                self._streams = await asyncio.open_connection(
                    "127.0.0.1", self.port, ssl=self._tls, server_hostname=self._name
                )
            length = f"Content-Length: {len(body)}\r\n" if body else ""
            self._streams[1].write(f"{target} HTTP/1.1\r\nHost: {host}\r\n{headers}{length}\r\n".encode() + body)
            return await self._answer(self._streams[0])
        except (OSError, EOFError):
            self.close()
            raise

    @property
    def used(self) -> bool:
        """Whether it is open, from an earlier question."""
        return self._streams is not None and not self._streams[0].at_eof()

    def close(self) -> None:
        """Disconnect."""
        if self._streams:
            self._streams[1].close()
            self._streams = None

    async def _answer(self, reader: asyncio.StreamReader) -> Answer:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status, body = int(head.split(" ", 2)[1]), b""
        if "content-length: " in head:
            body = await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r\n")[0]))
        elif "transfer-encoding: chunked" in head:
            body = await reader.readuntil(b"0\r\n\r\n")
        if "connection: close" in head:
            self.close()
        return Answer(status, body)


async def say(socket: str, command: str) -> str:
    """Return what a command over a unix socket is answered with."""
    reader, writer = await asyncio.open_unix_connection(socket)
    with contextlib.closing(writer):
        writer.write(command.encode())
        return (await reader.read()).decode().strip()
