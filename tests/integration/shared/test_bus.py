"""The rules of delivery, on a real nats-server: verdicts, retries, dead letters, restarts."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from clawstead_shared import topology
from clawstead_shared.errors import PermanentError, StreamsMissingError, TransientError
from clawstead_shared.events import Event, EventType, Payload
from clawstead_shared.ids import new_instance_id
from clawstead_shared.messaging import Bus
from clawstead_shared.messaging.log import Log
from clawstead_shared.settings import BusSettings
from clawstead_shared.streams import DEAD_LETTER_STREAM, PROVISIONER, SECRETS_BUCKET, STATE_STREAM
from clawstead_shared.subjects import Topic, subject_of
from tests.support.factories import desired_event, make_desired, make_observed, observed_event
from tests.support.nats_server import NatsServer
from tests.support.wait import wait_until

QUICK = replace(PROVISIONER, retry_delays=(timedelta(milliseconds=50),), max_deliver=3)


class Recorder:
    """A handler that fails as often as it is told to."""

    def __init__(self, *failures: Exception) -> None:
        self.events: list[Event[Payload]] = []
        self.attempts = 0
        self._failures = list(failures)

    async def __call__(self, event: Event[Payload]) -> None:
        self.attempts += 1
        if self._failures:
            raise self._failures.pop(0)
        self.events.append(event)


async def consuming(bus: Bus, handler: Recorder) -> None:
    bus.consume(QUICK, {Topic.DESIRED: handler})
    await bus.start()


async def dead_letters(bus: Bus) -> int:
    return (await bus.jetstream.stream_info(DEAD_LETTER_STREAM)).state.messages


async def settled(bus: Bus) -> bool:
    info = await bus.jetstream.consumer_info(STATE_STREAM, PROVISIONER.durable)
    return bool(info.num_pending == 0 and info.num_ack_pending == 0)


async def test_an_event_is_handled_once_and_acknowledged(bus: Bus) -> None:
    handler = Recorder()
    await consuming(bus, handler)
    event = desired_event(make_desired())
    await bus.publish(event)
    await wait_until(lambda: handler.events)
    assert handler.events[0].data == event.data
    assert handler.events[0].sequence == 1
    await wait_until(lambda: settled(bus))


async def test_a_handler_knows_when_it_was_handed_the_last_word(bus: Bus) -> None:
    handler = Recorder()
    for _ in range(2):
        await bus.publish(desired_event(make_desired()))
    await consuming(bus, handler)
    await wait_until(lambda: len(handler.events) == 2)
    assert not min(handler.events, key=lambda event: event.sequence or 0).newest

    async def is_told() -> bool:
        await bus.publish(desired_event(make_desired()))
        await wait_until(lambda: settled(bus))
        return handler.events[-1].newest

    await wait_until(is_told, what="an event that is known to be the newest")


async def test_what_comes_again_is_not_taken_for_the_last_word(bus: Bus) -> None:
    handler = Recorder(TransientError("not now"))
    await consuming(bus, handler)
    await bus.publish(desired_event(make_desired()))
    await wait_until(lambda: handler.events)
    assert not handler.events[0].newest


async def test_publishing_the_same_event_again_stores_nothing(bus: Bus) -> None:
    event = desired_event(make_desired())
    assert await bus.publish(event) == await bus.publish(event) == 1
    assert (await bus.jetstream.stream_info(STATE_STREAM)).state.messages == 1


async def test_a_transient_error_is_redelivered_until_it_succeeds(bus: Bus) -> None:
    handler = Recorder(TransientError("docker is down"), RuntimeError("a defect"))
    await consuming(bus, handler)
    await bus.publish(desired_event(make_desired()))
    await wait_until(lambda: handler.events)
    assert handler.attempts == 3
    assert await dead_letters(bus) == 0


async def test_exhausted_deliveries_end_as_a_dead_letter_with_the_reason(bus: Bus) -> None:
    handler = Recorder(*[TransientError("disk full")] * 3)
    await consuming(bus, handler)
    event = desired_event(make_desired())
    await bus.publish(event)
    await wait_until(lambda: dead_letters(bus))
    letter = await bus.jetstream.get_msg(DEAD_LETTER_STREAM, seq=1)
    assert letter.subject == f"clawstead.dlq.provisioner.{event.subject}"
    assert letter.headers is not None
    assert letter.headers["x-dlq-reason"] == "disk full"
    assert letter.headers["x-dlq-kind"] == "DeliveriesExhausted"
    await wait_until(lambda: settled(bus))


async def test_a_permanent_error_is_set_aside_at_once(bus: Bus) -> None:
    handler = Recorder(PermanentError("never"))
    await consuming(bus, handler)
    await bus.publish(desired_event(make_desired()))
    await wait_until(lambda: dead_letters(bus))
    assert handler.attempts == 1


async def test_long_work_is_not_delivered_twice(bus: Bus) -> None:
    started, release = 0, asyncio.Event()

    async def slow(_: Event[Payload]) -> None:
        nonlocal started
        started += 1
        await release.wait()

    await bus.jetstream.add_consumer(
        STATE_STREAM, topology.consumer_config(replace(PROVISIONER, ack_wait=timedelta(seconds=1)))
    )
    bus.consume(replace(PROVISIONER, ack_wait=timedelta(seconds=1)), {Topic.DESIRED: slow})
    await bus.start()
    await bus.publish(desired_event(make_desired()))
    await wait_until(lambda: started)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(2.5):
            await wait_until(lambda: started > 1, timeout=5)
    release.set()
    await wait_until(lambda: settled(bus))
    assert started == 1


async def test_newest_and_snapshot_see_the_present(bus: Bus) -> None:
    first, second = make_observed(generation=1), make_observed()
    newer = make_observed(first.instance_id, generation=2)
    for observed in (first, second, newer):
        await bus.publish(observed_event(observed))
    await bus.jetstream.publish(subject_of(Topic.OBSERVED, new_instance_id()), b"garbage")
    newest = await bus.newest(Topic.OBSERVED, first.instance_id)
    assert newest is not None
    assert newest.data == newer
    assert newest.type is EventType.READY
    snapshot = await bus.snapshot(Topic.OBSERVED)
    assert {key: event.data for key, event in snapshot.items()} == {
        newer.instance_id: newer,
        second.instance_id: second,
    }
    one_by_one = [event async for event in bus.each_newest(Topic.OBSERVED)]
    assert {event.instance_id: event for event in one_by_one} == snapshot
    assert await bus.newest(Topic.OBSERVED, new_instance_id()) is None
    assert await bus.snapshot(Topic.HEALTH) == {}


async def test_a_server_killed_and_restarted_loses_nothing(bus: Bus, nats_server: NatsServer) -> None:
    handler = Recorder()
    await consuming(bus, handler)
    first = desired_event(make_desired())
    await bus.publish(first)
    await wait_until(lambda: len(handler.events) == 1)
    nats_server.kill()
    await wait_until(lambda: not bus.connected)
    event = desired_event(make_desired())
    with pytest.raises(TransientError):
        await bus.publish(event, timeout=timedelta(milliseconds=300))
    nats_server.start()
    await wait_until(lambda: bus.connected)
    await bus.publish(event)
    # The first may come again: the server was killed before it had noted that it was handled.
    await wait_until(lambda: {it.id for it in handler.events} == {first.id, event.id})
    assert (await bus.jetstream.stream_info(STATE_STREAM)).state.messages == 2


async def test_starting_without_streams_says_what_to_do(nats_server: NatsServer) -> None:
    bus = Bus("test", BusSettings(nats_url=nats_server.url))
    await bus.connect()
    with pytest.raises(StreamsMissingError, match="clawstead streams apply"):
        await bus.start()
    await bus.close()


async def test_applying_the_topology_is_idempotent_and_repairs_drift(bus: Bus) -> None:
    assert {change.outcome for change in await topology.apply(bus.jetstream)} == {"unchanged"}
    drifted = (await bus.jetstream.stream_info(STATE_STREAM)).config
    await bus.jetstream.update_stream(drifted.evolve(duplicate_window=30.0))
    repaired = [change for change in await topology.apply(bus.jetstream) if change.outcome == "repaired"]
    assert [change.name for change in repaired] == [STATE_STREAM]
    assert repaired[0].differences == ("duplicate_window: 30.0 -> 600.0",)
    assert {change.outcome for change in await topology.apply(bus.jetstream)} == {"unchanged"}


async def test_a_malformed_newest_message_does_not_hide_the_one_before_it(bus: Bus) -> None:
    desired = make_desired()
    await bus.publish(desired_event(desired))
    for instance_id in (desired.instance_id, new_instance_id()):
        await bus.jetstream.publish(subject_of(Topic.DESIRED, instance_id), b"{poison")
    newest = await bus.newest(Topic.DESIRED, desired.instance_id)
    assert newest is not None
    assert newest.data == desired
    assert {known: event.data for known, event in (await bus.snapshot(Topic.DESIRED)).items()} == {
        desired.instance_id: desired
    }


async def test_the_newest_generation_is_found_behind_an_old_one_that_came_late(bus: Bus) -> None:
    first = make_desired()
    second = first.model_copy(update={"generation": 2})
    for desired in (first, second, first):
        await bus.publish(desired_event(desired))
    found = await bus.newest_generation(first.instance_id)
    assert found is not None
    assert found.data == second
    assert await bus.newest_generation(new_instance_id()) is None


async def test_buckets_can_be_read_as_logs(bus: Bus) -> None:
    await (await bus.bucket(SECRETS_BUCKET)).put("key", b"sealed")
    stored = [
        message async for message in Log(lambda: bus.broker.connection, f"KV_{SECRETS_BUCKET}").read(subject="$KV.>")
    ]
    assert [message.body for message in stored] == [b"sealed"]
