"""Rounds go on whatever one of them meets, and end when they are told to."""

import asyncio
from datetime import timedelta
from typing import cast

import pytest

from clawstead_keeper import rounds
from clawstead_keeper.ports import Bus
from clawstead_keeper.rounds import attempt, for_ever
from clawstead_shared.errors import TransientError


class Connection:
    connected = True


BUS = cast("Bus", Connection())


async def test_a_round_that_fails_is_followed_by_the_next() -> None:
    done = asyncio.Event()
    failures = [TransientError("away"), TimeoutError()]

    async def one_round() -> None:
        if failures:
            raise failures.pop()
        done.set()

    task = asyncio.create_task(for_ever("test", one_round, BUS, every=timedelta(0)))
    await asyncio.wait_for(done.wait(), 5)
    task.cancel()
    await asyncio.wait({task}, timeout=5)
    assert task.cancelled()


async def test_a_round_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "ROUND_SECONDS", 0.01)

    async def without_end() -> None:
        await asyncio.Event().wait()

    assert not await attempt("test", without_end)


async def test_a_cancellation_that_a_round_swallowed_ends_it_all_the_same() -> None:
    begun = asyncio.Event()

    async def swallowing() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    task = asyncio.create_task(for_ever("test", swallowing, BUS, every=timedelta(hours=1)))
    await begun.wait()
    task.cancel()
    await asyncio.wait({task}, timeout=5)
    assert task.cancelled()


async def test_a_defect_ends_the_task_and_is_not_hidden() -> None:
    async def defective() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await for_ever("test", defective, BUS, every=timedelta(0))
