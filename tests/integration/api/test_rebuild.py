"""Pages of the log, plans, and the read model made anew: same rows, twice, whatever happens beside it."""

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from clawstead_api.database import Database
from clawstead_api.rebuild import Rebuilder
from clawstead_api.staging import Staging
from clawstead_shared.control import RebuildReport
from clawstead_shared.errors import TransientError
from clawstead_shared.events import Event, EventType, Payload, Phase, Progress, Reason, Route
from tests.support.api import Api
from tests.support.factories import make_observed, observed_event

BODY = {"name": "claw", "plan": "pro"}
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


async def rows(database: Database) -> list[dict[str, Any]]:
    staging = Staging(database)
    return [row async for row in staging.events()] + [row async for row in staging.statuses()]


async def rebuild(api: Api) -> RebuildReport:
    return await Rebuilder(api.database, api.bus, api.projector).answer(b"")


def lives(ids: Sequence[str], seed: int, count: int = 60) -> list[Event[Payload]]:
    """Return events of instances in an order that makes sense, with much that is said again."""
    chance = random.Random(seed)
    events: list[Event[Payload]] = []
    for number in range(count):
        instance_id, at = chance.choice(ids), BEGIN + timedelta(seconds=number)
        generation = number // 20 + 1
        if chance.random() < 0.2:
            route = Route(instance_id=instance_id, generation=1, hostname="h", active=True, map_generation=number)
            events.append(Event(EventType.ROUTE_CHANGED, "proxy-sync", route, time=at))
            continue
        phase = chance.choice([Phase.STARTING, Phase.RUNNING, Phase.PROVISIONING])
        progress = Progress(step="pull", percent=number) if phase is Phase.PROVISIONING else None
        observed = make_observed(instance_id, phase=phase, generation=generation, progress=progress)
        events.append(Event(EventType.of(observed), "provisioner", observed, time=at))
    return events


@pytest.fixture
async def ids(api: Api, client: httpx.AsyncClient) -> list[str]:
    created = [(await client.post("/instances", json=BODY)).json()["id"] for _ in range(3)]
    await api.settle()
    return created


@pytest.mark.parametrize("seed", [1, 2])
async def test_one_by_one_in_pages_and_rebuilt_are_the_same(api: Api, ids: list[str], seed: int) -> None:
    chance = random.Random(seed)
    told: list[Event[Payload]] = []
    for event in lives(ids, seed):
        await api.report(event)
        if told and chance.random() < 0.2:
            api.bus.store_again(chance.choice(told))
            await api.settle()
        if event.type is not EventType.PROGRESSED:
            told.append(event)
    one_by_one = await rows(api.database)
    first, second = await rebuild(api), await rebuild(api)
    assert first.before == first.after == second.before == second.after
    assert first.entries == len(one_by_one)
    for size in (7, 1000):
        await clear(api)
        for begin in range(0, len(api.bus.events), size):
            await api.projector.take_in_batch(api.bus.events[begin : begin + size])
        assert await rows(api.database) == one_by_one


async def clear(api: Api) -> None:
    async with api.database.write() as session:
        for table in ("event", "status"):
            await (await session.connection()).execute(text(f"DELETE FROM {table}"))


async def test_handling_that_lags_behind_ends_in_the_same(api: Api, ids: list[str]) -> None:
    for event in lives(ids, 3):
        await api.bus.publish(event)
    await api.settle()
    assert (await rebuild(api)).before == (await rebuild(api)).after


async def test_a_replay_in_any_order_and_twice_changes_nothing(api: Api, ids: list[str]) -> None:
    for event in lives(ids, 4):
        await api.report(event)
    before = await rows(api.database)
    events = api.bus.events
    assert await api.projector.plan(events) == []
    for page in (events, events[::-1], events[10:20] * 2):
        await api.projector.take_in_batch(page)
    assert await rows(api.database) == before


async def test_a_plan_says_everything_and_does_nothing(api: Api, ids: list[str]) -> None:
    await api.bus.publish(observed_event(make_observed(ids[0], phase=Phase.RUNNING)))
    await api.bus.publish(observed_event(make_observed(ids[1], phase=Phase.REMOVED)))
    async with api.client() as client:
        await client.delete(f"/instances/{ids[1]}")
    before = await rows(api.database)
    effects = await api.projector.plan(api.bus.events)
    assert [(each.instance_id, each.action, each.detail) for each in effects] == [
        (ids[0], "add history row", "clawstead.instance.ready"),
        (ids[1], "add history row", "clawstead.instance.removed"),
        (ids[0], "change status", "running"),
        (ids[1], "change status", "removed"),
        (ids[1], "record removal", ""),
    ]
    assert await rows(api.database) == before


async def test_live_events_and_a_replay_of_them_do_not_disturb_each_other(api: Api, ids: list[str]) -> None:
    for event in lives(ids, 5, count=40):
        await api.bus.publish(event)

    async def live() -> None:
        for event in api.bus.events:
            await api.projector.take_in(event)

    await asyncio.gather(live(), api.projector.take_in_batch(api.bus.events), rebuild(api))
    assert (await rebuild(api)).before == (await rebuild(api)).after


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM event",
        "DELETE FROM status",
        "UPDATE status SET phase = 'failed', observed_at = NULL",
        "UPDATE event SET type = 'clawstead.instance.failed', owner_id = NULL",
        'UPDATE event SET data = \'{"phase": "running", "forged": true}\'',
    ],
)
async def test_a_damaged_projection_is_as_it_was(api: Api, ids: list[str], damage: str) -> None:
    for event in lives(ids, 6):
        await api.report(event)
    sound = await rows(api.database)
    async with api.database.write() as session:
        await (await session.connection()).execute(text(damage))
    report = await rebuild(api)
    assert report.before != report.after
    assert await rows(api.database) == sound


async def test_a_crash_in_the_middle_leaves_all_as_it_was(
    api: Api, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for event in lives(ids, 7):
        await api.report(event)
    before = await rows(api.database)

    async def crash(_: Staging) -> None:
        raise TransientError("the process died")

    with monkeypatch.context() as patched:
        patched.setattr(Staging, "take_place", crash)
        with pytest.raises(TransientError):
            await rebuild(api)
    assert await rows(api.database) == before
    report = await rebuild(api)
    assert report.before == report.after


async def test_what_came_during_a_rebuild_reaches_clients_that_follow(
    api: Api, ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Staging.clear
    event = observed_event(make_observed(ids[0], phase=Phase.RUNNING))

    async def clear_late(staging: Staging) -> None:
        await stage(staging)
        await api.bus.publish(event)

    monkeypatch.setattr(Staging, "clear", clear_late)
    seen = api.feed.newest
    await rebuild(api)
    assert api.feed.newest == seen + 1
    await api.settle()
    assert [row["id"] for row in await rows(api.database) if "id" in row].count(event.id) == 1


async def test_what_a_lost_log_told_stays(api: Api, ids: list[str]) -> None:
    for event in lives(ids, 8, count=10):
        await api.report(event)
    before = [row["id"] for row in await rows(api.database) if "id" in row]
    newest = api.feed.newest
    api.bus.events.clear()
    api.bus.created += timedelta(seconds=1)
    api.restarted()
    await api.report(observed_event(make_observed(ids[0], phase=Phase.FAILED, reason=Reason.CRASH_LOOP)))
    history = [row for row in await rows(api.database) if "id" in row]
    assert [row["id"] for row in history[:-1]] == before
    assert history[-1]["sequence"] == newest + 1, "numbers go on rising"
    report = await rebuild(api)
    assert report.before == report.after


async def test_an_observation_that_is_stored_again_is_no_news(
    api: Api, ids: list[str], client: httpx.AsyncClient
) -> None:
    said = [observed_event(make_observed(ids[0], phase=phase)) for phase in (Phase.STARTING, Phase.RUNNING)]
    for event in said:
        await api.report(event)
    api.bus.store_again(said[0])
    await api.settle()
    assert (await client.get(f"/instances/{ids[0]}")).json()["phase"] == "running"
    await api.projector.catch_up()
    assert (await client.get(f"/instances/{ids[0]}")).json()["phase"] == "running"
    report = await rebuild(api)
    assert report.before == report.after
    await api.report(observed_event(said[1].data))
    report = await rebuild(api)
    assert report.before == report.after
