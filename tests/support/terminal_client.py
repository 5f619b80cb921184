"""A terminal client over a real WebSocket."""

import asyncio
import json
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed


class TerminalClient:
    """One connection: remembers the screen and the control frames."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.screen = ""
        self.controls: list[dict[str, Any]] = []

    @classmethod
    async def connect(cls, url: str, **options: Any) -> Self:
        return cls(await connect(url, compression=None, **options))

    async def auth(self, ticket: str, **fields: Any) -> None:
        await self.control(type="auth", ticket=ticket, **fields)

    async def control(self, **fields: Any) -> None:
        await self.connection.send(json.dumps(fields))

    async def until(self, condition: Any, *, timeout: float = 10) -> None:
        """Read frames until ``condition()`` holds."""
        async with asyncio.timeout(timeout):
            while not condition():
                self._take(await self.connection.recv())

    async def ready(self) -> str:
        """Wait for the shell; return the session's id."""
        await self.until(lambda: self.controls)
        assert self.controls[0]["type"] == "ready", self.controls
        return str(self.controls[0]["session_id"])

    async def run(self, command: str, expected: str, *, timeout: float = 10) -> str:
        """Type a command; return the screen once ``expected`` is on it."""
        self.screen = ""
        await self.connection.send(command.encode() + b"\n")
        await self.until(lambda: expected in self.screen, timeout=timeout)
        return self.screen

    async def closed(self, *, timeout: float = 10) -> int:
        """Read until the server closes; return the close code."""
        async with asyncio.timeout(timeout):
            try:
                while True:
                    self._take(await self.connection.recv())
            except ConnectionClosed:
                return self.connection.close_code or 0

    def vanish(self) -> None:
        """End the connection without a close frame, as a crashed client does."""
        self.connection.transport.abort()

    def _take(self, frame: str | bytes) -> None:
        if isinstance(frame, bytes):
            self.screen += frame.decode(errors="replace")
        else:
            self.controls.append(json.loads(frame))
