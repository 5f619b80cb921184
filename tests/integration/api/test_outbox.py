"""The outbox on a real bus: each crash point between commit and publish, and a bus that is away."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest
from nats.errors import MaxPayloadError
from prometheus_client import REGISTRY
from sqlmodel import select

from clawstead_api.adapters.nats_buckets import NatsBuckets
from clawstead_api.database import Database
from clawstead_api.outbox import POISON_ATTEMPTS, Relay
from clawstead_api.tables import Outbox
from clawstead_shared.errors import TransientError
from clawstead_shared.events import Event, Payload
from clawstead_shared.messaging import Bus
from clawstead_shared.streams import SECRETS_BUCKET, STATE_STREAM
from clawstead_shared.subjects import Topic
from tests.support.api import Api
from tests.support.nats_server import NatsServer
from tests.support.wait import wait_until


class CrashError(Exception):
    """Stands for the end of the process."""


class UnreliableBus:
    """The real bus, with a fault before or after the publish."""

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.before: list[Exception] = []
        self.after: list[Exception] = []
        self.refused: dict[str, Exception] = {}
        """By instance, each time."""

    async def publish(self, event: Event[Payload]) -> int:
        if error := self.refused.get(event.instance_id):
            raise error
        if self.before:
            raise self.before.pop(0)
        sequence = await self.bus.publish(event, timeout=timedelta(seconds=1))
        if self.after:
            raise self.after.pop(0)
        return sequence


def relay_of(api: Api, bus: Bus, sink: UnreliableBus | None = None) -> Relay:
    return Relay(api.database, sink or bus, NatsBuckets(bus), connected=lambda: bus.connected)


async def create(client: httpx.AsyncClient) -> str:
    response = await client.post("/instances", json={"name": "claw", "plan": "pro"})
    assert response.status_code == 202
    instance_id: str = response.json()["id"]
    return instance_id


async def stored(bus: Bus) -> int:
    return (await bus.jetstream.stream_info(STATE_STREAM)).state.messages


async def waiting(api: Api) -> list[Outbox]:
    async with api.database.read() as session:
        return list((await session.exec(select(Outbox).order_by(Outbox.id))).all())  # type: ignore[arg-type]


@pytest.fixture
async def sink(bus: Bus) -> UnreliableBus:
    return UnreliableBus(bus)


async def test_secrets_are_on_the_bus_before_the_event_that_names_them(
    api: Api, client: httpx.AsyncClient, bus: Bus, sink: UnreliableBus
) -> None:
    instance_id = await create(client)
    sink.before = [CrashError()]
    with pytest.raises(CrashError):
        await relay_of(api, bus, sink).drain()
    assert (await (await bus.bucket(SECRETS_BUCKET)).get(instance_id)).value
    assert await stored(bus) == 0


async def test_a_crash_between_commit_and_publish_loses_nothing(
    api: Api, client: httpx.AsyncClient, bus: Bus, sink: UnreliableBus
) -> None:
    instance_id = await create(client)
    sink.before = [CrashError()]
    with pytest.raises(CrashError):
        await relay_of(api, bus, sink).drain()
    await relay_of(api, bus).drain()
    newest = await bus.newest(Topic.DESIRED, instance_id)
    assert newest is not None
    assert newest.data.generation == 1  # type: ignore[attr-defined]
    assert await waiting(api) == []


async def test_a_crash_between_puback_and_delete_stores_nothing_twice(
    api: Api, client: httpx.AsyncClient, bus: Bus, sink: UnreliableBus
) -> None:
    await create(client)
    sink.after = [CrashError()]
    with pytest.raises(CrashError):
        await relay_of(api, bus, sink).drain()
    assert await waiting(api) != []
    await relay_of(api, bus).drain()
    assert await stored(bus) == 1
    assert await waiting(api) == []


async def test_a_lost_puback_stores_nothing_twice(
    api: Api, client: httpx.AsyncClient, bus: Bus, sink: UnreliableBus
) -> None:
    await create(client)
    sink.after = [TransientError("no PubAck in time")]
    relay = relay_of(api, bus, sink)
    with pytest.raises(TransientError):
        await relay.drain()
    await relay.drain()
    assert await stored(bus) == 1
    assert await waiting(api) == []


async def test_events_of_an_instance_keep_their_order(api: Api, client: httpx.AsyncClient, bus: Bus) -> None:
    instance_id = await create(client)
    for command in ("stop", "start", "restart", "stop"):
        await client.post(f"/instances/{instance_id}/{command}")
    await relay_of(api, bus).drain()
    generations = [
        (await bus.jetstream.get_msg(STATE_STREAM, seq=sequence)).data for sequence in range(1, await stored(bus) + 1)
    ]
    assert [f'"generation":{number}'.encode() in (data or b"") for number, data in enumerate(generations, start=1)] == [
        True
    ] * 5


async def test_the_trace_of_the_request_goes_on_with_the_event(api: Api, client: httpx.AsyncClient, bus: Bus) -> None:
    instance_id = await create(client)
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with api.database.write() as session:
        for row in (await session.exec(select(Outbox))).all():
            row.traceparent = f"00-{trace_id}-00f067aa0ba902b7-01"
    await relay_of(api, bus).drain()
    newest = await bus.newest(Topic.DESIRED, instance_id)
    assert newest is not None
    assert newest.traceparent is not None
    assert trace_id in newest.traceparent


async def test_poison_is_quarantined_and_the_others_go_on(
    api: Api, client: httpx.AsyncClient, bus: Bus, sink: UnreliableBus
) -> None:
    poisoned, fine = await create(client), await create(client)
    error = TransientError("publish")
    error.__cause__ = MaxPayloadError()
    relay = relay_of(api, bus, sink)
    sink.refused[poisoned] = error
    for _ in range(POISON_ATTEMPTS):
        await relay.drain()
    sink.refused.clear()
    (row,) = await waiting(api)
    assert row.instance_id == poisoned
    assert row.quarantined_at is not None
    assert await bus.newest(Topic.DESIRED, fine) is not None
    await client.post(f"/instances/{poisoned}/stop")
    await relay.drain()
    newest = await bus.newest(Topic.DESIRED, poisoned)
    assert newest is not None
    assert newest.data.generation == 2, "the next snapshot says it all"  # type: ignore[attr-defined]


class SlowBus(UnreliableBus):
    """The real bus, which takes what it is told only when it is let."""

    def __init__(self, bus: Bus) -> None:
        super().__init__(bus)
        self.let = asyncio.Event()
        self.begun: list[str] = []

    async def publish(self, event: Event[Payload]) -> int:
        self.begun.append(event.instance_id)
        await self.let.wait()
        return await super().publish(event)


async def test_many_instances_are_told_at_once_and_each_in_order(api: Api, client: httpx.AsyncClient, bus: Bus) -> None:
    ids = [await create(client) for _ in range(3)]
    for instance_id in ids:
        await client.post(f"/instances/{instance_id}/stop")
    sink = SlowBus(bus)
    drained = asyncio.create_task(relay_of(api, bus, sink).drain())

    async def all_begun() -> bool:
        return len(sink.begun) == len(ids)

    await wait_until(all_begun)
    assert sorted(sink.begun) == sorted(ids), "none is told of its second change before its first is stored"
    sink.let.set()
    assert await drained == 6
    for instance_id in ids:
        newest = await bus.newest(Topic.DESIRED, instance_id)
        assert newest is not None
        assert newest.data.generation == 2  # type: ignore[attr-defined]
    messages = [message.event() async for message in bus.log.read()]
    assert [event.data.generation for event in messages if event.instance_id == ids[0]] == [1, 2]  # type: ignore[attr-defined]


async def test_a_crash_among_many_repeats_only_what_the_bus_recognises(
    api: Api, client: httpx.AsyncClient, bus: Bus, sink: UnreliableBus
) -> None:
    for _ in range(5):
        await create(client)
    sink.after = [CrashError()]
    with pytest.raises(CrashError):
        await relay_of(api, bus, sink).drain()
    while await relay_of(api, bus).drain():
        pass
    assert await stored(bus) == 5
    assert await waiting(api) == []


async def test_metrics_tell_how_long_rows_wait_and_how_many_are_set_aside(
    api: Api, client: httpx.AsyncClient, bus: Bus, running_relay: Relay, nats_server: NatsServer
) -> None:
    def metric(name: str) -> float:
        return REGISTRY.get_sample_value(f"clawstead_outbox_{name}") or 0.0

    nats_server.kill()
    await wait_until(lambda: not bus.connected)
    await create(client)
    await create(client)
    async with api.database.write() as session:
        row = (await session.exec(select(Outbox).order_by(Outbox.id))).first()  # type: ignore[arg-type]
        assert row
        row.quarantined_at = row.created_at
    await wait_until(lambda: metric("pending") == 1 and metric("quarantined_rows") == 1)
    await wait_until(lambda: metric("oldest_seconds") > 1)
    nats_server.start()
    await wait_until(lambda: metric("pending") == 0 and metric("oldest_seconds") == 0, timeout=15)


@pytest.fixture
async def running_relay(api: Api, bus: Bus) -> AsyncIterator[Relay]:
    relay = relay_of(api, bus)
    task = asyncio.create_task(relay.run())
    yield relay
    task.cancel()
    await asyncio.wait({task})


async def test_a_request_while_the_bus_is_away_is_accepted_and_told_later(
    api: Api, client: httpx.AsyncClient, bus: Bus, nats_server: NatsServer, running_relay: Relay
) -> None:
    before = await create(client)
    running_relay.wake()
    await wait_until(lambda: stored(bus))
    nats_server.kill()
    await wait_until(lambda: not bus.connected)
    during = await create(client)
    running_relay.wake()
    assert len(await waiting(api)) == 1
    nats_server.start()

    async def told() -> bool:
        return await waiting(api) == []

    await wait_until(told, timeout=15)
    for instance_id in (before, during):
        assert await bus.newest(Topic.DESIRED, instance_id) is not None
    assert await stored(bus) == 2


async def test_a_missed_wake_is_made_up_for(
    api: Api, client: httpx.AsyncClient, bus: Bus, running_relay: Relay
) -> None:
    await asyncio.sleep(0)
    await create(client)
    await wait_until(lambda: stored(bus))


async def test_one_relay_per_shared_database_tells(postgresql_url: str) -> None:
    database = Database(postgresql_url)
    first, second = database.advisory_lock(7), database.advisory_lock(7)
    assert await first.held()
    assert await first.held()
    assert not await second.held()
    await first.release()
    assert await second.held()
    await second.release()
    await database.close()
