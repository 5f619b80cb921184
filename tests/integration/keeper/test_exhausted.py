"""Messages whose service never said what was wrong reach the dead letters, once."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.api import RawStreamMsg

from clawstead_keeper.adapters.advisories import acknowledging
from clawstead_keeper.adapters.nats_bus import NatsBus
from clawstead_keeper.exhausted import Advisory, Exhausted
from clawstead_shared import topology
from clawstead_shared.errors import TransientError
from clawstead_shared.messaging import Bus
from clawstead_shared.messaging.dead_letters import DeadLetter, set_aside
from clawstead_shared.streams import ADVISORY_STREAM, DEAD_LETTER_STREAM, KEEPER, PROVISIONER, STATE_STREAM, STREAMS
from tests.support.factories import desired_event, make_desired
from tests.support.wait import wait_until

Handler = Callable[[bytes], Awaitable[None]]


async def letters(bus: Bus) -> int:
    return (await bus.jetstream.stream_info(DEAD_LETTER_STREAM)).state.messages


async def first_letter(bus: Bus) -> RawStreamMsg:
    await wait_until(lambda: letters(bus))
    return await bus.jetstream.get_msg(DEAD_LETTER_STREAM, seq=1)


async def all_taken(bus: Bus) -> bool:
    info = await bus.jetstream.consumer_info(ADVISORY_STREAM, KEEPER.durable)
    return bool(info.delivered and info.delivered.consumer_seq and not info.num_pending and not info.num_ack_pending)


async def listening(bus: Bus, handler: Handler) -> None:
    bus.consume_raw(KEEPER, acknowledging(handler))
    await bus.start()


def advisory(sequence: int, at: datetime | None = None, consumer: str = "provisioner") -> bytes:
    said = Advisory(consumer=consumer, stream_seq=sequence, deliveries=8, timestamp=at or datetime.now(UTC))
    return said.model_dump_json().encode()


async def test_a_message_that_killed_its_service_each_time_is_set_aside(bus: Bus, nats_bus: NatsBus) -> None:
    await listening(bus, Exhausted(nats_bus).on_advisory)
    mortal = topology.consumer_config(PROVISIONER).evolve(max_deliver=2, ack_wait=0.3)
    await bus.jetstream.add_consumer(STATE_STREAM, mortal)
    event = desired_event(make_desired())
    await bus.publish(event)
    pulls = await bus.jetstream.pull_subscribe_bind("provisioner", STATE_STREAM, inbox_prefix=b"_INBOX.test.")

    async def delivered_in_vain() -> bool:
        with suppress(NatsTimeoutError):
            await pulls.fetch(timeout=0.2)
        return bool(await letters(bus))

    await wait_until(delivered_in_vain)
    await pulls.unsubscribe()
    letter = await first_letter(bus)
    assert letter.subject == f"clawstead.dlq.provisioner.{event.subject}"
    assert letter.data
    assert letter.headers
    assert letter.headers["x-dlq-kind"] == "DeliveriesExhausted"
    assert "provisioner was given it 2 times" in letter.headers["x-dlq-reason"]
    assert letter.headers["ce-id"] == event.id
    assert letter.headers["Nats-Msg-Id"] == "dlq:provisioner:1"
    await wait_until(lambda: all_taken(bus))
    oldest = await nats_bus.consumer(PROVISIONER)
    assert oldest
    assert (oldest.pending, oldest.ack_pending, oldest.oldest) == (0, 0, None), "it counts as done"


async def test_an_advisory_that_comes_again_after_a_crash_copies_nothing(bus: Bus, nats_bus: NatsBus) -> None:
    await bus.publish(desired_event(make_desired()))
    exhausted = Exhausted(nats_bus)
    await exhausted.on_advisory(advisory(1))
    await exhausted.on_advisory(advisory(1))
    assert await letters(bus) == 1


async def test_what_the_service_set_aside_long_ago_is_not_copied_again(bus: Bus, nats_bus: NatsBus) -> None:
    event = desired_event(make_desired())
    await bus.publish(event)
    short = STREAMS[2]
    assert short.name == DEAD_LETTER_STREAM
    config = topology.stream_config(short).evolve(duplicate_window=0.1)
    await bus.jetstream.update_stream(config)
    copy = DeadLetter("provisioner", 1, event.subject, {}, b"{}", "PermanentError", "never")
    await set_aside(bus.jetstream, copy)

    async def forgotten() -> bool:
        # The window is over when the server takes the same id again, on another subject.
        other = DeadLetter("provisioner", 1, f"{event.subject}.probe", {}, b"{}", "probe", "probe")
        await set_aside(bus.jetstream, other)
        return await letters(bus) == 2

    await wait_until(forgotten)
    await Exhausted(nats_bus).on_advisory(advisory(1))
    assert await letters(bus) == 2


@pytest.mark.parametrize("case", ["gone", "another message", "a consumer that is not ours", "not understood"])
async def test_an_advisory_that_leads_nowhere_is_done_with(bus: Bus, nats_bus: NatsBus, case: str) -> None:
    await bus.publish(desired_event(make_desired()))
    bodies = {
        "gone": advisory(77),
        "another message": advisory(1, datetime.now(UTC) - timedelta(hours=1)),
        "a consumer that is not ours": advisory(1, consumer="somebody"),
        "not understood": b"{",
    }
    await Exhausted(nats_bus).on_advisory(bodies[case])
    assert await letters(bus) == 0


async def test_an_advisory_that_could_not_be_acted_on_comes_again(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clawstead_keeper.adapters.advisories._RETRY_SECONDS", 0.05)
    seen: list[bytes] = []

    async def failing_once(body: bytes) -> None:
        seen.append(body)
        if len(seen) == 1:
            raise TransientError("the bus did not answer")

    await listening(bus, failing_once)
    await bus.broker.connection.publish(
        f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{STATE_STREAM}.provisioner", advisory(1)
    )
    await wait_until(lambda: len(seen) == 2)
    await wait_until(lambda: all_taken(bus))
