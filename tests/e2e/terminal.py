"""A terminal as a user has it: a real WebSocket through the edge."""

import asyncio
import json
from typing import Any, Self

from websockets.asyncio.client import ClientConnection, connect

from tests.e2e.operations import Operations
from tests.e2e.platform import DOMAIN


class Terminal:
    """One open session."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.screen = ""
        self.controls: list[dict[str, Any]] = []

    @classmethod
    async def open(cls, operations: Operations, instance_id: str) -> Self:
        """Ask for a ticket and open the session with it."""
        response = await operations.client.api("POST", f"/instances/{instance_id}/terminal")
        assert response.status_code == 201, response.text
        platform = operations.platform
        origin = f"https://{DOMAIN}:{platform.https_port}"
        assert response.json()["url"] == f"wss://{DOMAIN}:{platform.https_port}/ws/terminal"
        connection = await connect(
            f"wss://{DOMAIN}:{platform.https_port}/ws/terminal",
            ssl=platform.tls(),
            server_hostname=DOMAIN,
            host="127.0.0.1",
            port=platform.https_port,
            origin=origin,  # type: ignore[arg-type]
        )
        terminal = cls(connection)
        await connection.send(
            json.dumps({"type": "auth", "ticket": response.json()["ticket"], "cols": 100, "rows": 30})
        )
        await terminal.until(lambda: any(control["type"] == "ready" for control in terminal.controls))
        return terminal

    async def until(self, condition: Any, *, timeout: float = 60) -> None:
        """Read frames until ``condition()`` holds."""
        async with asyncio.timeout(timeout):
            while not condition():
                frame = await self.connection.recv()
                if isinstance(frame, bytes):
                    self.screen += frame.decode(errors="replace")
                else:
                    self.controls.append(json.loads(frame))

    async def run(self, command: str, expected: str, *, timeout: float = 60) -> str:
        """Type a command; return the screen once ``expected`` is on it."""
        self.screen = ""
        await self.connection.send(command.encode() + b"\n")
        await self.until(lambda: expected in self.screen, timeout=timeout)
        return self.screen

    async def close(self) -> None:
        await self.connection.close()
