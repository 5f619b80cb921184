"""What goes on while instances come and go: requests to steady routes, and WebSockets; and what became of them."""

import asyncio
import ssl
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import aiohttp

from benchmarks.edge.connection import Connection
from benchmarks.edge.visitor import DOMAIN

_PING_SECONDS = 1.0
_ANSWER_SECONDS = 10.0
_KEPT = 20


@dataclass(slots=True)
class Toll:
    """What happened to visitors."""

    requests: int = 0
    failed: list[str] = field(default_factory=list)
    reused: list[str] = field(default_factory=list)
    """Failed before the first byte of an answer, on a connection that had been used before: browsers ask again."""
    sockets: int = 0
    dropped: list[str] = field(default_factory=list)


class Visitors:
    """Visitors of steady routes."""

    def __init__(self, port: int, authority: Path, labels: list[str]) -> None:
        self.toll = Toll()
        self._port = port
        self._tls = ssl.create_default_context(cafile=str(authority))
        self._labels = cycle(labels)

    async def ask(self, per_second: float) -> None:
        """Send so many requests a second until cancelled, every second one over a connection of its own."""
        loop = asyncio.get_running_loop()
        begun, sent = loop.time(), 0
        kept = [(label, self._connection(label)) for label, _ in zip(self._labels, range(_KEPT), strict=False)]
        turn = cycle(kept)
        busy: set[Connection] = set()
        async with asyncio.TaskGroup() as group:
            while True:
                label, connection = next(turn)
                if sent % 2 or connection in busy:
                    label = next(self._labels)
                    group.create_task(self._once(label, self._connection(label), None))
                else:
                    busy.add(connection)
                    group.create_task(self._once(label, connection, busy))
                sent += 1
                await asyncio.sleep(max(begun + sent / per_second - loop.time(), 0))

    async def _once(self, label: str, connection: Connection, busy: set[Connection] | None) -> None:
        self.toll.requests += 1
        used = connection.used
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                answer = await connection.ask(f"{label}.{DOMAIN}")
        except (OSError, EOFError, TimeoutError) as error:
            (self.toll.reused if used else self.toll.failed).append(repr(error))
        else:
            if answer.status != 200 or answer.body.decode() != label:
                self.toll.failed.append(f"{answer.status} {answer.body[:60]!r} for {label}")
        finally:
            if busy is None:
                connection.close()
            else:
                busy.discard(connection)

    async def talk(self, stop: asyncio.Event) -> None:
        """Keep a WebSocket open until ``stop``, and speak over it every second."""
        label = next(self._labels)
        self.toll.sockets += 1
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(
                    f"wss://127.0.0.1:{self._port}/socket",
                    ssl=self._tls,
                    server_hostname=f"{label}.{DOMAIN}",
                    headers={"Host": f"{label}.{DOMAIN}:{self._port}"},
                ) as socket,
            ):
                while not stop.is_set():
                    await socket.send_str(label)
                    if await socket.receive_str(timeout=_ANSWER_SECONDS) != label:
                        raise ValueError("another's answer")
                    await _either(stop, _PING_SECONDS)
        except (aiohttp.ClientError, OSError, TypeError, ValueError, TimeoutError) as error:
            self.toll.dropped.append(repr(error))

    def _connection(self, label: str) -> Connection:
        return Connection(self._port, self._tls, f"{label}.{DOMAIN}")


async def _either(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
