"""A visitor of the edges: one kept TLS connection, on which any name can be asked for."""

import asyncio
import ssl
import time
from pathlib import Path
from types import TracebackType

from benchmarks.edge.connection import Answer, Connection

DOMAIN = "claw.localhost"
_DEADLINE_SECONDS = 30.0
_PAUSE_SECONDS = 0.0001


class NotServedError(Exception):
    """A name does not answer 200 within the deadline."""


class Visitor:
    """Asks one edge. It connects as a first name, and asks for others in the Host header."""

    def __init__(self, port: int, authority: Path, first: str) -> None:
        tls = ssl.create_default_context(cafile=str(authority))
        self._connection = Connection(port, tls, f"{first}.{DOMAIN}")

    async def __aenter__(self) -> "Visitor":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    async def until_200(self, label: str, pause_seconds: float = 0) -> float:
        """Ask again and again until ``label`` answers 200; return the clock's time of then.

        Raises:
            NotServedError: it does not.
        """
        deadline = time.perf_counter() + _DEADLINE_SECONDS
        while await self.status(label) != 200:
            if time.perf_counter() > deadline:
                raise NotServedError(label)
            # Leaves the core to what is measured. The loop itself would sleep for a whole millisecond.
            time.sleep(0 if pause_seconds else _PAUSE_SECONDS)
            await asyncio.sleep(pause_seconds)
        return time.perf_counter()

    async def status(self, label: str) -> int:
        """Return the status of one answer, 0 for none."""
        answer = await self.ask(label)
        return answer.status if answer else 0

    async def ask(self, label: str) -> Answer | None:
        """Return one answer, None for none: an edge that reloads closes kept connections."""
        try:
            return await self._connection.ask(f"{label}.{DOMAIN}")
        except (OSError, EOFError):
            return None
