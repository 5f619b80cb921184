"""One open session: keys to the shell, screen to the client, until one of them ends or time is up."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import structlog

from clawstead_terminal.errors import Close, EngineError, MalformedFrameError
from clawstead_terminal.ports import Client, ClientGoneError, Shell
from clawstead_terminal.protocol import Size, parse_control
from clawstead_terminal.sessions import Outcome, SessionHandle

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a session may last."""

    idle: timedelta
    """Without a byte either way."""
    total: timedelta


class Pump:
    """Moves bytes both ways. Whoever is slow holds the other side up; nothing piles up here."""

    def __init__(self, client: Client, shell: Shell, handle: SessionHandle, patience: Patience) -> None:
        self._client = client
        self._shell = shell
        self._handle = handle
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._active_at = self._loop.time()
        self._size: Size | None = None
        self._resized = asyncio.Event()

    async def run(self) -> Outcome:
        """Return how the session ended. The client's connection and the shell's are left as they are."""
        # In the order of who knows best, when several end at once.
        told = asyncio.ensure_future(self._handle.ending)
        sides = [asyncio.create_task(side()) for side in (self._screen, self._keys, self._clock, self._resizes)]
        try:
            await asyncio.wait([told, *sides], return_when=asyncio.FIRST_COMPLETED)
            first = next(task for task in (told, *sides) if task.done())
            return first.result()
        finally:
            for side in sides:
                side.cancel()
            await asyncio.gather(*sides, return_exceptions=True)

    async def _screen(self) -> Outcome:
        try:
            while data := await self._shell.read():
                self._active_at = self._loop.time()
                await self._client.send(data)
        except ClientGoneError:
            return Outcome("client_left")
        try:
            code = await self._shell.exit_code()
        except EngineError:
            code = None
        return Outcome("exited", exit_code=code, exited=True)

    async def _keys(self) -> Outcome:
        try:
            while True:
                frame = await self._client.receive()
                self._active_at = self._loop.time()
                if isinstance(frame, bytes):
                    await self._shell.write(frame)
                else:
                    self._size = parse_control(frame).size
                    self._resized.set()
        except ClientGoneError:
            return Outcome("client_left")
        except MalformedFrameError as error:
            return Outcome("malformed_frame", error.close, str(error))

    async def _resizes(self) -> Outcome:
        # Of a burst, as when a window edge is dragged, only the last matters.
        while True:
            await self._resized.wait()
            self._resized.clear()
            assert self._size is not None
            try:
                await self._shell.resize(self._size)
            except EngineError as error:
                log.warning("resize failed", error=str(error))

    async def _clock(self) -> Outcome:
        ends_at = self._loop.time() + self._patience.total.total_seconds()
        while True:
            now = self._loop.time()
            idle_at = self._active_at + self._patience.idle.total_seconds()
            if now >= ends_at:
                return Outcome("time_over", Close.TIMEOUT, "the session has lasted as long as one may")
            if now >= idle_at:
                return Outcome("idle", Close.TIMEOUT, "nothing happened for too long")
            await asyncio.sleep(min(ends_at, idle_at) - now)
