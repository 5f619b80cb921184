"""Long waits, each owned and found again by its key: a boot, a graceful stop, an image pull."""

import asyncio
import contextvars
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

import structlog

log = structlog.get_logger()


class Background:
    """Running waits by kind and name. Use as a context manager: leaving it cancels and awaits them all."""

    def __init__(self) -> None:
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._context = contextvars.copy_context()

    async def __aenter__(self) -> Self:
        self._context = contextvars.copy_context()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def start(self, kind: str, name: str, wait: Coroutine[Any, Any, None]) -> None:
        """Begin a wait; one of the same kind and name that is still running is cancelled."""
        self.cancel(kind, name)
        key = (kind, name)
        task = asyncio.get_running_loop().create_task(
            self._guarded(kind, name, wait), name=f"{kind}-{name}", context=self._context.copy()
        )
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._forget(key, done))

    def running(self, kind: str, name: str) -> bool:
        """Say whether such a wait is running."""
        return (kind, name) in self._tasks

    def cancel(self, kind: str, name: str) -> None:
        """End a wait, if there is one."""
        if (task := self._tasks.pop((kind, name), None)) is not None:
            task.cancel()

    def _forget(self, key: tuple[str, str], done: asyncio.Task[None]) -> None:
        if self._tasks.get(key) is done:
            del self._tasks[key]

    @staticmethod
    async def _guarded(kind: str, name: str, wait: Coroutine[Any, Any, None]) -> None:
        try:
            await wait
        except Exception:
            # The sweep looks again; one broken wait must not end the others.
            log.exception("background wait failed", kind=kind, name=name)
