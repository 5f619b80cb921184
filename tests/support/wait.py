"""Waiting on conditions, never for a fixed time."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, overload

T = TypeVar("T")


@overload
async def wait_until(
    condition: Callable[[], Coroutine[Any, Any, T | None]], *, timeout: float = 30, what: str = "condition"
) -> T: ...


@overload
async def wait_until(condition: Callable[[], T], *, timeout: float = 30, what: str = "condition") -> T: ...


async def wait_until(condition: Callable[[], Any], *, timeout: float = 30, what: str = "condition") -> Any:
    """Return the first truthy result of ``condition``; an assertion fails after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        result = condition()
        if asyncio.iscoroutine(result):
            result = await result
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout} s")
        await asyncio.sleep(0.02)
