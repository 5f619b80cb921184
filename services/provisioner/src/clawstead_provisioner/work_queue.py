"""Work by key: one run per key at a time, requests during a run merged into one more run after it.

Bounded by nature: however many requests there are, a key waits at most once. A failed run is tried again
after a while, so nobody needs to remember it.
"""

import asyncio
import contextlib
import contextvars
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Self

import structlog

from clawstead_shared.errors import TransientError

log = structlog.get_logger()

_RETRY_SECONDS = 5.0


class WorkQueue:
    """Runs ``work(key)`` for submitted keys, ``concurrency`` keys at a time. Use as a context manager."""

    def __init__(self, work: Callable[[str], Awaitable[None]], *, concurrency: int) -> None:
        self._work = work
        self._slots = asyncio.Semaphore(concurrency)
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._runners: dict[str, asyncio.Task[None]] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._context = contextvars.copy_context()
        self._closed = False

    async def __aenter__(self) -> Self:
        self._context = contextvars.copy_context()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        runners = list(self._runners.values())
        for runner in runners:
            runner.cancel()
        await asyncio.gather(*runners, return_exceptions=True)

    def busy(self, key: str) -> bool:
        """Say whether a run for ``key`` is under way."""
        return key in self._runners

    def submit(self, key: str) -> asyncio.Future[None]:
        """Have ``key`` worked on; return the outcome of a run that has not begun yet."""
        self._forget_timer(key)
        if key in self._waiting:
            return self._waiting[key]
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        outcome.add_done_callback(_retrieved)
        if self._closed:
            outcome.cancel()
            return outcome
        self._waiting[key] = outcome
        if key not in self._runners:
            # Not the caller's context: its log fields and trace are not those of later runs.
            self._runners[key] = asyncio.get_running_loop().create_task(
                self._run(key), name=f"work-{key}", context=self._context.copy()
            )
        return outcome

    @contextlib.asynccontextmanager
    async def aside(self) -> AsyncIterator[None]:
        """Leave the place of the run that calls this to another key, for a wait that takes no work."""
        self._slots.release()
        try:
            yield
        finally:
            await self._slots.acquire()

    def submit_after(self, seconds: float, key: str) -> None:
        """Have ``key`` worked on later; the earliest of several wishes counts."""
        loop = asyncio.get_running_loop()
        known = self._timers.get(key)
        if self._closed or (known is not None and known.when() <= loop.time() + seconds):
            return
        self._forget_timer(key)
        self._timers[key] = loop.call_later(seconds, self.submit, key, context=self._context.copy())

    async def _run(self, key: str) -> None:
        try:
            while key in self._waiting:
                async with self._slots:
                    await self._once(key, self._waiting.pop(key))
        finally:
            del self._runners[key]
            if (left := self._waiting.pop(key, None)) is not None:
                left.cancel()

    async def _once(self, key: str, outcome: asyncio.Future[None]) -> None:
        try:
            await self._work(key)
        except asyncio.CancelledError:
            outcome.cancel()
            raise
        except Exception as error:
            if isinstance(error, TransientError):
                log.warning("will look again", instance_id=key, error=str(error))
            else:
                log.exception("reconciling failed", instance_id=key)
            self.submit_after(_RETRY_SECONDS, key)
            _settle(outcome, error)
        else:
            _settle(outcome, None)

    def _forget_timer(self, key: str) -> None:
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()


def _settle(outcome: asyncio.Future[None], error: Exception | None) -> None:
    if outcome.done():
        return
    if error is None:
        outcome.set_result(None)
    else:
        outcome.set_exception(error)


def _retrieved(outcome: asyncio.Future[None]) -> None:
    # Nobody may be waiting; the error was logged.
    with contextlib.suppress(asyncio.CancelledError):
        outcome.exception()
