"""Time that passes only while everybody waits: what is about rates and intervals is exact on any machine."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class _Jumping(selectors.SelectSelector):
    """Waits for nothing: the clock jumps to where the wait would have ended."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0 if timeout else timeout)
        if timeout and not ready:
            self.now += timeout
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Jumping()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def run(test: Coroutine[Any, Any, None]) -> None:
    """Run a test that does no I/O, from second 0 of a loop's clock; no sleep in it takes time."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(test)
