"""The projector on a real bus: happy, duplicate, out of order, poison, and a restart that missed events."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from clawstead_api.adapters.nats_log import NatsLog
from clawstead_api.database import Database
from clawstead_api.errors import DatabaseUnavailableError
from clawstead_api.projector import Projector
from clawstead_api.subscribers import subscribe
from clawstead_api.tables import Event as EventRow
from clawstead_api.tables import Status
from clawstead_shared.events import Event, EventType, Payload, Phase, Route
from clawstead_shared.ids import new_instance_id
from clawstead_shared.messaging import Bus
from clawstead_shared.streams import API, DEAD_LETTER_STREAM, STATE_STREAM
from clawstead_shared.subjects import Topic, subject_of
from tests.support.api import Api
from tests.support.factories import desired_event, make_desired, make_observed, observed_event
from tests.support.fake_bus import FakeBus
from tests.support.wait import wait_until


async def status_of(database: Database, instance_id: str) -> Status | None:
    async with database.read() as session:
        return await session.get(Status, instance_id)


async def history(database: Database) -> list[EventRow]:
    async with database.read() as session:
        return list((await session.exec(select(EventRow).order_by(EventRow.sequence))).all())  # type: ignore[arg-type]


async def settled(bus: Bus) -> bool:
    info = await bus.jetstream.consumer_info(STATE_STREAM, API.durable)
    return (info.num_pending, info.num_ack_pending) == (0, 0)


@pytest.fixture
async def projector(api: Api, bus: Bus) -> Projector:
    """A projector that consumes from the real bus."""
    projector = Projector(api.database, bus, NatsLog(bus), api.feed, wake=lambda: None)
    subscribe(bus, projector)
    await bus.start()
    return projector


@pytest.mark.usefixtures("projector")
async def test_events_become_status_and_history(api: Api, bus: Bus) -> None:
    desired = make_desired()
    observed = make_observed(desired.instance_id, phase=Phase.STARTING)
    route = Route(instance_id=desired.instance_id, generation=1, hostname="h", active=True, map_generation=1)
    for event in (desired_event(desired), observed_event(observed), Event(EventType.ROUTE_CHANGED, "x", route)):
        await bus.publish(event)
    await wait_until(lambda: settled(bus))
    status = await status_of(api.database, desired.instance_id)
    assert status is not None
    assert status.phase == "starting"
    assert status.observation == observed
    assert status.route is not None
    assert status.route["active"] is True
    rows = await history(api.database)
    assert [(row.sequence, row.topic) for row in rows] == [(1, "desired"), (2, "observed"), (3, "route")]
    assert rows[1].data == {"generation": 1, "phase": "starting", "restart_count": 0}


@pytest.mark.usefixtures("projector")
async def test_poison_is_set_aside_and_the_others_go_on(api: Api, bus: Bus) -> None:
    observed = make_observed()
    await bus.jetstream.publish(subject_of(Topic.OBSERVED, observed.instance_id), b"not ours")
    await bus.publish(observed_event(observed))
    await wait_until(lambda: settled(bus))
    assert len(await history(api.database)) == 1
    assert (await bus.jetstream.stream_info(DEAD_LETTER_STREAM)).state.messages == 1


@pytest.mark.usefixtures("projector")
async def test_poison_as_the_newest_message_does_not_take_the_others_down(api: Api, bus: Bus) -> None:
    observed = make_observed()
    await bus.publish(observed_event(observed))
    await bus.jetstream.publish(subject_of(Topic.OBSERVED, observed.instance_id), b"not ours")
    await wait_until(lambda: settled(bus))
    status = await status_of(api.database, observed.instance_id)
    assert status is not None
    assert status.observation == observed


async def test_a_duplicate_changes_nothing(api: Api) -> None:
    event = observed_event(make_observed())
    await api.report(event)
    before = await status_of(api.database, event.instance_id)
    await api.projector.take_in(api.bus.events[0])
    assert await status_of(api.database, event.instance_id) == before
    assert len(await history(api.database)) == 1


async def test_any_order_ends_in_the_newest_state(api: Api) -> None:
    instance_id = new_instance_id()
    start = datetime(2026, 11, 21, tzinfo=UTC)
    for number, phase in enumerate([Phase.PROVISIONING, Phase.STARTING, Phase.RUNNING]):
        event = observed_event(make_observed(instance_id, phase=phase))
        await api.bus.publish(replace(event, time=start + timedelta(seconds=number)))
    for published in reversed(api.bus.events):
        await api.projector.take_in(published)
    status = await status_of(api.database, instance_id)
    assert status is not None
    assert (status.phase, status.updated_at) == ("running", start + timedelta(seconds=2))
    assert [row.data["phase"] for row in await history(api.database)] == ["provisioning", "starting", "running"]


async def test_a_replay_of_everything_ends_in_the_same_rows(api: Api) -> None:
    ids = [new_instance_id() for _ in range(3)]
    for phase in (Phase.STARTING, Phase.RUNNING):
        for instance_id in ids:
            await api.report(observed_event(make_observed(instance_id, phase=phase)))
    before = [row.model_dump() for row in await history(api.database)]
    statuses = [(await status_of(api.database, instance_id)).model_dump() for instance_id in ids]  # type: ignore[union-attr]
    for event in api.bus.events:
        await api.projector.take_in(event)
    assert [row.model_dump() for row in await history(api.database)] == before
    assert [(await status_of(api.database, each)).model_dump() for each in ids] == statuses  # type: ignore[union-attr]


async def test_a_start_shows_the_present_before_it_consumes(api: Api) -> None:
    observed = make_observed(phase=Phase.RUNNING)
    await api.bus.publish(observed_event(make_observed(observed.instance_id, phase=Phase.STARTING)))
    await api.bus.publish(observed_event(observed))
    await api.projector.catch_up()
    status = await status_of(api.database, observed.instance_id)
    assert status is not None
    assert status.phase == "running"
    assert await history(api.database) == [], "history comes from the stream, in order"


class FailingDatabase:
    """A database that is away for a while."""

    def __init__(self, database: Database, failures: int) -> None:
        self._database = database
        self.failures = failures

    async def transact(self, work: Callable[[AsyncSession], Awaitable[object]]) -> object:
        if self.failures:
            self.failures -= 1
            raise DatabaseUnavailableError("gone")
        return await self._database.transact(work)


async def test_an_event_waits_for_a_database_that_is_away(api: Api) -> None:
    bus = FakeBus()
    event: Event[Payload] = observed_event(make_observed())
    await bus.publish(event)
    database = FailingDatabase(api.database, failures=2)
    projector = Projector(database, bus, bus, api.feed, wake=lambda: None)  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        await projector.take_in(bus.events[0])
    assert len(await history(api.database)) == 1
    assert database.failures == 0
