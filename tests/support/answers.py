"""Somebody who asks for a route all the time, and what comes of it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import httpx

from tests.support.site import SiteClient
from tests.support.wait import wait_until


class Answers(list[int | str]):
    """What somebody who asks all the time gets: the status of each answer, or what broke a connection."""

    def __init__(self) -> None:
        super().__init__()
        self._longest, self._last = 0.0, time.monotonic()

    @property
    def statuses(self) -> set[int]:
        return {status for status in self if isinstance(status, int)}

    @property
    def silence_seconds(self) -> float:
        """The longest time until an answer came, the one that is awaited now included."""
        return max(self._longest, time.monotonic() - self._last)

    def answered(self, status: int) -> None:
        self.append(status)
        self._longest, self._last = self.silence_seconds, time.monotonic()


@contextlib.asynccontextmanager
async def asked(client: SiteClient, label: str = "blue") -> AsyncIterator[Answers]:
    """Ask for one route all the time, over a new connection each time; yields what came of it."""
    answers = Answers()

    async def ask() -> None:
        while True:
            try:
                answers.answered((await client.get(label)).status_code)
            except httpx.TransportError as error:
                answers.append(repr(error))
            await asyncio.sleep(0.01)

    task = asyncio.create_task(ask())
    await wait_until(lambda: answers, what="a first answer")
    try:
        yield answers
    finally:
        task.cancel()
        await asyncio.wait({task})
    assert task.cancelled(), "it was asked all the time"
