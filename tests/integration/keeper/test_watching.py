"""Lag, full streams, dead letters and gaps: counted, and told once."""

from datetime import timedelta

from prometheus_client import REGISTRY

from clawstead_keeper.adapters.nats_bus import NatsBus
from clawstead_keeper.dead_letters import DeadLetters
from clawstead_keeper.gap_watch import GapWatch
from clawstead_keeper.levels import Levels
from clawstead_shared import topology
from clawstead_shared.events import DesiredState, Phase
from clawstead_shared.messaging import Bus, Log
from clawstead_shared.messaging.dead_letters import DeadLetter, set_aside
from clawstead_shared.messaging.noticeboard import StoredNotices
from clawstead_shared.notices import Notice, NoticeKind
from clawstead_shared.streams import ADVISORY_STREAM, DEAD_LETTER_STREAM, HEALTH, STATE_STREAM, STREAMS
from clawstead_shared.subjects import Topic, subject_of
from tests.integration.keeper.conftest import Told
from tests.support.factories import desired_event, make_desired, make_observed, observed_event
from tests.support.wait import wait_until

NOW = timedelta(0)


def metric(name: str, **labels: str) -> float:
    value = REGISTRY.get_sample_value(name, labels)
    assert value is not None, name
    return value


async def stored_notices(bus: Bus) -> list[Notice]:
    log = Log(lambda: bus.broker.connection, ADVISORY_STREAM)
    return [Notice.model_validate_json(stored.body) async for stored in log.read(subject="clawstead.notice.>")]


async def taken(bus: Bus, nats_bus: NatsBus) -> None:
    pulls = await bus.jetstream.pull_subscribe_bind("health", STATE_STREAM, inbox_prefix=b"_INBOX.test.")
    [message] = await pulls.fetch(timeout=5)
    await message.ack_sync()
    await pulls.unsubscribe()
    state = await nats_bus.consumer(HEALTH)
    assert state
    assert state.oldest is None


async def test_a_consumer_that_lags_is_told_once_until_it_recovered(bus: Bus, nats_bus: NatsBus, told: Told) -> None:
    levels = Levels(nats_bus, told, lag_limit=timedelta(seconds=0.05))

    async def lags(times: int) -> bool:
        await levels.round()
        return len(told.of(NoticeKind.CONSUMER_LAGS)) == times

    await bus.publish(observed_event(make_observed()))
    await bus.publish(desired_event(make_desired()))  # of no concern to health
    await wait_until(lambda: lags(4))
    assert {notice.about for notice in told.notices} == {"api", "health", "provisioner", "proxy-sync"}
    assert "the service does not run" in told.notices[0].message
    assert metric("clawstead_consumer_pending", consumer="health") == 1
    assert metric("clawstead_consumer_oldest_pending_seconds", consumer="health") > 0.05
    assert metric("clawstead_stream_messages", stream=STATE_STREAM) == 2
    assert await lags(4)
    await taken(bus, nats_bus)
    assert await lags(4)
    assert metric("clawstead_consumer_oldest_pending_seconds", consumer="health") == 0
    await bus.publish(observed_event(make_observed()))
    await wait_until(lambda: lags(5))


async def test_a_stream_that_fills_is_told_once(bus: Bus, nats_bus: NatsBus, told: Told) -> None:
    config = topology.stream_config(STREAMS[0])
    await bus.publish(desired_event(make_desired()))
    used = (await bus.jetstream.stream_info(STATE_STREAM)).state.bytes
    await bus.jetstream.update_stream(config.evolve(max_bytes=used + 10))
    levels = Levels(nats_bus, told, lag_limit=timedelta(hours=1))
    await levels.round()
    await levels.round()
    [notice] = told.notices
    assert (notice.kind, notice.about) == (NoticeKind.STREAM_FILLS, STATE_STREAM)
    assert metric("clawstead_stream_fill_ratio", stream=STATE_STREAM) > 0.8


async def dead_letter(bus: Bus, sequence: int, reason: str, consumer: str = "health") -> None:
    subject = subject_of(Topic.OBSERVED, make_observed().instance_id)
    await set_aside(bus.jetstream, DeadLetter(consumer, sequence, subject, {}, b"{}", "PermanentError", reason))


async def test_dead_letters_are_told_once_per_step_even_across_a_restart(
    bus: Bus, nats_bus: NatsBus, told: Told
) -> None:
    before = DeadLetters(nats_bus, told, pause=timedelta(minutes=1))
    await before.round()
    await dead_letter(bus, 1, "disk full")
    await before.round()
    assert told.notices == [], "more may follow at once"

    notices = StoredNotices(nats_bus.publish)
    first = DeadLetters(nats_bus, notices, pause=NOW)
    for sequence, reason in ((2, "disk full"), (3, "not JSON")):
        await dead_letter(bus, sequence, reason)
    await dead_letter(bus, 4, "poison", consumer="api")
    await first.round()
    while notices.waiting:
        await notices.store_one()
    assert {notice.about: notice.message for notice in await stored_notices(bus)} == {
        "api": "api gave up 1 message: poison (1)",
        "health": "health gave up 3 messages: disk full (2); not JSON (1)",
    }
    assert metric("clawstead_dead_letters", consumer="health") == 3

    second = DeadLetters(nats_bus, told, pause=NOW)
    await second.round()
    assert told.notices == []
    await dead_letter(bus, 5, "again")
    await second.round()
    await second.round()
    assert [notice.message for notice in told.notices] == ["health gave up 1 message: again (1)"]
    await bus.jetstream.purge_stream(DEAD_LETTER_STREAM)
    await second.round()
    assert len(told.notices) == 1


async def test_gaps_are_told_once_even_across_a_restart(bus: Bus, nats_bus: NatsBus, told: Told) -> None:
    holed, ahead, fine, removed = (make_desired() for _ in range(4))
    for desired, generations in ((holed, (1, 2, 5)), (ahead, (1,)), (fine, (1, 2, 2)), (removed, (1, 3))):
        for generation in generations:
            await bus.publish(desired_event(desired.model_copy(update={"generation": generation})))
    await bus.publish(observed_event(make_observed(ahead.instance_id, generation=4)))
    await bus.publish(observed_event(make_observed(fine.instance_id, generation=2)))
    gone = {"generation": 3, "phase": Phase.REMOVED, "host": None, "port": None}
    await bus.publish(observed_event(make_observed(removed.instance_id, **gone)))
    await bus.jetstream.publish(subject_of(Topic.DESIRED, fine.instance_id), b"poison")

    notices = StoredNotices(nats_bus.publish)
    watch = GapWatch(nats_bus, notices, grace=NOW)
    await watch.round()
    await watch.round()
    while notices.waiting:
        await notices.store_one()
    found = {notice.about: notice.message for notice in await stored_notices(bus)}
    assert found == {
        holed.instance_id: "generations 3 to 4 are missing in the desired states",
        ahead.instance_id: "generation 4 was carried out, but only generation 1 is in the desired states",
    }
    assert metric("clawstead_gaps") == 2

    restarted = GapWatch(nats_bus, told, grace=NOW)
    await restarted.round()
    assert told.notices == []
    await bus.publish(desired_event(holed.model_copy(update={"generation": 7})))
    await restarted.round()
    assert [notice.message for notice in told.notices] == ["generation 6 is missing in the desired states"]


async def test_a_log_that_was_lost_is_read_from_its_start(bus: Bus, nats_bus: NatsBus, told: Told) -> None:
    watch = GapWatch(nats_bus, told, grace=NOW)
    desired = make_desired()
    for generation in (1, 2):
        await bus.publish(desired_event(desired.model_copy(update={"generation": generation})))
    await watch.round()
    await bus.jetstream.delete_stream(STATE_STREAM)
    await watch.round()
    await topology.apply(bus.jetstream)
    for generation, state in ((9, DesiredState.RUNNING), (10, DesiredState.STOPPED)):
        changed = desired.model_copy(update={"generation": generation, "desired_state": state})
        await bus.publish(desired_event(changed))
    await bus.publish(observed_event(make_observed(desired.instance_id, generation=9)))
    await watch.round()
    assert told.notices == []
