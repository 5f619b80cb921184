"""What was deleted or altered by hand is as declared again, and services go on by themselves."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, DeliverPolicy, StorageType

from clawstead_keeper.adapters.nats_bus import NatsBus
from clawstead_keeper.repairs import Repairs
from clawstead_keeper.rounds import for_ever
from clawstead_shared import topology
from clawstead_shared.events import Event, Payload
from clawstead_shared.messaging import Bus
from clawstead_shared.notices import NoticeKind
from clawstead_shared.streams import (
    ADVISORY_STREAM,
    DEAD_LETTER_STREAM,
    PROVISIONER,
    STATE_STREAM,
    TICKETS_BUCKET,
)
from clawstead_shared.subjects import Topic
from tests.integration.keeper.conftest import Told
from tests.support.factories import desired_event, make_desired
from tests.support.nats_server import NatsServer
from tests.support.wait import wait_until

WITHIN_SECONDS = 10

Damage = Callable[[JetStreamContext], Awaitable[object]]


@pytest.fixture
async def kept(nats_bus: NatsBus, told: Told) -> AsyncIterator[Told]:
    """A keeper's repairs at their real pace, past their first round."""
    repairs = Repairs(nats_bus, told)
    await repairs.round()
    task = asyncio.create_task(for_ever("repairs", repairs.round, nats_bus, every=timedelta(seconds=3)))
    yield told
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def altered_stream(jetstream: JetStreamContext, name: str, **fields: object) -> None:
    config = (await jetstream.stream_info(name)).config
    await jetstream.update_stream(config.evolve(**fields))


async def altered_consumer(jetstream: JetStreamContext, **fields: object) -> None:
    config = topology.consumer_config(PROVISIONER)
    await jetstream.add_consumer(STATE_STREAM, config.evolve(**fields))


DAMAGES: dict[str, Damage] = {
    "consumer deleted": lambda js: js.delete_consumer(STATE_STREAM, "provisioner"),
    "ack wait": lambda js: altered_consumer(js, ack_wait=1.0),
    "deliveries": lambda js: altered_consumer(js, max_deliver=2),
    "headers only": lambda js: altered_consumer(js, headers_only=True),
    "filter": lambda js: altered_consumer(js, filter_subject="clawstead.v1.health.*"),
    "subjects": lambda js: altered_stream(js, STATE_STREAM, subjects=["clawstead.v1.desired.*"]),
    "age": lambda js: altered_stream(js, STATE_STREAM, max_age=3600.0),
    "window": lambda js: altered_stream(js, STATE_STREAM, duplicate_window=1.0),
    "dead letters": lambda js: js.delete_stream(DEAD_LETTER_STREAM),
    "advisories": lambda js: js.delete_stream(ADVISORY_STREAM),
    "log": lambda js: js.delete_stream(STATE_STREAM),
    "bucket": lambda js: js.delete_key_value(TICKETS_BUCKET),
    "bucket's ttl": lambda js: altered_stream(js, f"KV_{TICKETS_BUCKET}", max_age=0.0),
    "bucket's history": lambda js: altered_stream(js, f"KV_{TICKETS_BUCKET}", max_msgs_per_subject=5),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_damage_is_repaired_and_reported_once(nats_bus: NatsBus, bus: Bus, told: Told, damage: str) -> None:
    repairs = Repairs(nats_bus, told)
    await repairs.round()
    assert told.notices == [], "what the first round makes is no repair"
    await DAMAGES[damage](bus.jetstream)
    await repairs.round()
    repaired = [notice.about for notice in told.of(NoticeKind.BUS_REPAIRED)]
    assert repaired
    assert {change.outcome for change in await topology.apply(bus.jetstream)} == {"unchanged"}
    await repairs.round()
    assert [notice.about for notice in told.notices] == repaired


async def test_what_cannot_be_updated_is_made_anew_and_said(bus: Bus, nats_bus: NatsBus, told: Told) -> None:
    repairs = Repairs(nats_bus, told)
    await repairs.round()
    await bus.jetstream.delete_consumer(STATE_STREAM, "provisioner")
    await bus.jetstream.add_consumer(
        STATE_STREAM,
        ConsumerConfig(durable_name="provisioner", name="provisioner", deliver_policy=DeliverPolicy.NEW),
    )
    await repairs.round()
    assert [(notice.kind, notice.about) for notice in told.notices] == [(NoticeKind.BUS_REPAIRED, "provisioner")]
    assert "made anew" in told.notices[0].message
    assert {change.outcome for change in await topology.apply(bus.jetstream)} == {"unchanged"}


async def test_what_the_server_refuses_is_said_once_and_stops_nothing_else(
    bus: Bus, nats_bus: NatsBus, told: Told
) -> None:
    repairs = Repairs(nats_bus, told)
    await repairs.round()
    wrong = (await bus.jetstream.stream_info(DEAD_LETTER_STREAM)).config.evolve(storage=StorageType.MEMORY)
    await bus.jetstream.delete_stream(DEAD_LETTER_STREAM)
    await bus.jetstream.add_stream(wrong)
    await bus.jetstream.delete_key_value(TICKETS_BUCKET)
    await repairs.round()
    await repairs.round()
    [refused] = told.of(NoticeKind.BUS_REFUSED)
    assert refused.about == DEAD_LETTER_STREAM
    assert "storage" in refused.message
    assert [notice.about for notice in told.of(NoticeKind.BUS_REPAIRED)] == [TICKETS_BUCKET]


class Recorder:
    def __init__(self) -> None:
        self.seen: list[Event[Payload]] = []

    async def __call__(self, event: Event[Payload]) -> None:
        self.seen.append(event)

    def has(self, event: Event[Payload]) -> bool:
        return event.id in {seen.id for seen in self.seen}


@pytest.fixture
async def recorder(bus: Bus) -> Recorder:
    recorder = Recorder()
    bus.consume(replace(PROVISIONER, concurrency=4), {Topic.DESIRED: recorder})
    await bus.start()
    return recorder


async def test_a_running_service_resumes_after_its_consumer_was_deleted(
    bus: Bus, kept: Told, recorder: Recorder
) -> None:
    before, meanwhile = desired_event(make_desired()), desired_event(make_desired())
    await bus.publish(before)
    await wait_until(lambda: recorder.has(before))
    await bus.jetstream.delete_consumer(STATE_STREAM, "provisioner")
    await bus.publish(meanwhile)
    await wait_until(lambda: recorder.has(meanwhile), timeout=WITHIN_SECONDS)
    await wait_until(lambda: kept.notices, timeout=WITHIN_SECONDS)
    assert [notice.about for notice in kept.notices] == ["provisioner"]


async def test_a_running_service_resumes_after_the_log_was_deleted(bus: Bus, kept: Told, recorder: Recorder) -> None:
    before, after = desired_event(make_desired()), desired_event(make_desired())
    await bus.publish(before)
    await wait_until(lambda: recorder.has(before))
    await bus.jetstream.delete_stream(STATE_STREAM)
    await wait_until(lambda: kept.of(NoticeKind.BUS_REPAIRED), timeout=WITHIN_SECONDS)
    await bus.publish(after)
    await wait_until(lambda: recorder.has(after), timeout=WITHIN_SECONDS)
    assert {"CLAWSTEAD", "api", "provisioner"} <= {notice.about for notice in kept.notices}


async def test_a_consumer_that_is_missing_is_asked_for_in_moderation(bus: Bus, recorder: Recorder) -> None:
    await bus.jetstream.delete_consumer(STATE_STREAM, "provisioner")
    asked = bus.broker.connection.stats["out_msgs"]
    with suppress(TimeoutError):
        async with asyncio.timeout(2):
            await asyncio.Event().wait()
    assert bus.broker.connection.stats["out_msgs"] - asked < 20


async def test_a_server_that_goes_away_and_comes_back_is_repaired(
    bus: Bus, nats_server: NatsServer, kept: Told
) -> None:
    nats_server.kill()
    await wait_until(lambda: not bus.connected)
    nats_server.start()
    await wait_until(lambda: bus.connected)
    await bus.jetstream.delete_consumer(STATE_STREAM, "health")
    await wait_until(lambda: kept.of(NoticeKind.BUS_REPAIRED), timeout=WITHIN_SECONDS)
