"""Asks gateways over HTTP/1.1, through their published ports. By hand: a client library weighs 20 MB."""

import asyncio

_TIMEOUT_SECONDS = 2.0
_OK = b"200"
# A gateway behind a proxy refuses requests that it cannot attribute; this is a documentation address.
_FORWARDED_FOR = "192.0.2.1"


class HttpGateway:
    """Keeps ``Gateway``."""

    def __init__(self, host: str) -> None:
        self._host = host

    async def answers(self, port: int, path: str) -> bool:
        """See ``Gateway.answers``."""
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                return await self._status(port, path) == _OK
        except (OSError, TimeoutError, ValueError, asyncio.IncompleteReadError):
            return False

    async def _status(self, port: int, path: str) -> bytes:
        reader, writer = await asyncio.open_connection(self._host, port)
        try:
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: {self._host}:{port}\r\n"
                f"X-Forwarded-For: {_FORWARDED_FOR}\r\nConnection: close\r\n\r\n".encode()
            )
            line = await reader.readline()
            return line.split(b" ", 2)[1] if line.startswith(b"HTTP/") and line.count(b" ") else b""
        finally:
            writer.transport.abort()
