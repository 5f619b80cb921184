"""The live feed: every event once and in order, whatever the client's pace, and with bounds."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from clawstead_api.errors import TooManyStreamsError
from clawstead_api.feed import PAGE, Feed, Interest, Item
from clawstead_api.tables import Event
from clawstead_shared.events import EventType

MINE = Interest("me")
ONE, TWO = "01arz3ndektsv4rrffq69g5fa1", "01arz3ndektsv4rrffq69g5fa2"


def make_row(sequence: int, instance_id: str = ONE, owner_id: str = "me", phase: str = "running") -> Event:
    return Event(
        id=f"event-{sequence}",
        sequence=sequence,
        owner_id=owner_id,
        instance_id=instance_id,
        topic="observed",
        type=EventType.READY,
        time=datetime(2026, 11, 21, tzinfo=UTC),
        data={"generation": 1, "phase": phase},
    )


class Scene:
    """A feed, and the database that it reads older events from."""

    def __init__(self, stored: Sequence[Event] = (), **bounds: int) -> None:
        self.stored = list(stored)
        self.fetches = 0
        self.feed = Feed(self._fetch, **bounds)

    async def _fetch(self, interest: Interest, after: int, limit: int) -> Sequence[Event]:
        self.fetches += 1
        found = [row for row in self.stored if row.sequence > after and row.owner_id == interest.owner_id]
        return [row for row in found if interest.instance_id in {None, row.instance_id}][:limit]

    def happen(self, *rows: Event) -> None:
        for row in rows:
            self.stored.append(row)
            self.feed.announce(row)

    async def follow(self, interest: Interest, after: int | None, number: int) -> list[int]:
        stream = self.feed.follow(interest, after)
        async with asyncio.timeout(2):
            taken = [(await anext(stream)).sequence for _ in range(number)]
        await stream.aclose()
        return taken


async def test_a_live_client_is_served_from_memory() -> None:
    scene = Scene()
    scene.feed.open_at(0)
    following = asyncio.create_task(scene.follow(MINE, None, 3))
    await asyncio.sleep(0)
    scene.happen(*map(make_row, (1, 2, 3)))
    assert await following == [1, 2, 3]
    assert scene.fetches == 0


async def test_a_client_that_was_away_gets_what_it_missed_then_what_happens() -> None:
    scene = Scene([make_row(number) for number in range(1, 251)])
    scene.feed.open_at(250)
    scene.happen(make_row(251))
    assert await scene.follow(MINE, 10, 241) == list(range(11, 252))
    assert scene.fetches == 240 // PAGE + 1


async def test_a_slow_client_misses_nothing_although_the_ring_is_small() -> None:
    scene = Scene(ring_events=4)
    scene.feed.open_at(0)
    stream = scene.feed.follow(MINE, None)
    first = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    scene.happen(make_row(1))
    assert (await first).sequence == 1
    scene.happen(*(make_row(number) for number in range(2, 40)))
    async with asyncio.timeout(2):
        assert [(await anext(stream)).sequence for _ in range(38)] == list(range(2, 40))


async def test_a_quiet_instance_does_not_make_its_follower_read_the_database_for_others() -> None:
    scene = Scene([make_row(number, TWO) for number in range(1, 6)])
    scene.feed.open_at(5)
    following = asyncio.create_task(scene.follow(Interest("me", ONE), 0, 1))
    await asyncio.sleep(0.01)
    for number in range(6, 20):
        scene.happen(make_row(number, TWO))
        await asyncio.sleep(0)
    scene.happen(make_row(20, ONE))
    assert await following == [20]
    assert scene.fetches == 1


async def test_before_the_feed_is_open_the_database_is_asked() -> None:
    scene = Scene([make_row(1), make_row(2)])
    assert await scene.follow(MINE, 1, 1) == [2]


async def test_only_what_interests_and_may_be_seen_is_delivered() -> None:
    scene = Scene()
    scene.feed.open_at(0)
    following = asyncio.create_task(scene.follow(Interest("me", ONE), 0, 1))
    await asyncio.sleep(0)
    scene.happen(make_row(1, TWO), make_row(2, ONE, owner_id="you"), make_row(3, ONE))
    assert await following == [3]


async def test_the_stream_of_an_instance_ends_with_its_removal() -> None:
    scene = Scene([make_row(1), make_row(2, phase="removed"), make_row(3)])
    seen: list[Item] = [item async for item in scene.feed.follow(Interest("me", ONE), 0)]
    assert [item.sequence for item in seen] == [1, 2]


async def test_closing_ends_every_stream_and_refuses_new_ones() -> None:
    scene = Scene()
    scene.feed.open_at(0)
    following = asyncio.create_task(scene.follow(MINE, None, 1))
    await asyncio.sleep(0)
    await scene.feed.close()
    with pytest.raises((StopAsyncIteration, RuntimeError)):
        await following
    with pytest.raises(TooManyStreamsError):
        scene.feed.require_room()


async def test_the_number_of_clients_is_bounded_and_a_place_becomes_free_again() -> None:
    scene = Scene(max_streams=1)
    scene.feed.open_at(0)
    scene.feed.require_room()
    following = asyncio.create_task(scene.follow(MINE, None, 1))
    await asyncio.sleep(0)
    with pytest.raises(TooManyStreamsError):
        scene.feed.require_room()
    scene.happen(make_row(1))
    await following
    scene.feed.require_room()
