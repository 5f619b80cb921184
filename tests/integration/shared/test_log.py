"""The log read in pages, and the requests of operators, on a real nats-server."""

import asyncio
import base64
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from nats.aio.client import Client

from clawstead_shared.control import Effect, Message, RedriveRequest, ReplayReport, ReplayRequest, Verb
from clawstead_shared.errors import TransientError
from clawstead_shared.events import Event, Payload, encode
from clawstead_shared.messaging import Bus
from clawstead_shared.messaging.control import NobodyAnswersError, RefusedError, ask
from clawstead_shared.messaging.log import PAGE, Log
from clawstead_shared.messaging.replay import Events
from clawstead_shared.streams import PROVISIONER
from clawstead_shared.subjects import Topic, all_of, subject_of
from tests.support.factories import desired_event, make_desired, make_observed, observed_event

DURABLE = replace(PROVISIONER, max_deliver=1)


class Handler:
    """Remembers what it handled; fails as it is told."""

    def __init__(self) -> None:
        self.seen: list[Event[Payload]] = []
        self.failure: Exception | None = None

    async def __call__(self, event: Event[Payload]) -> None:
        if self.failure:
            raise self.failure
        self.seen.append(event)

    async def plan(self, events: Events) -> list[Effect]:
        return [Effect(instance_id=event.instance_id, action="look") for event in events]


@pytest.fixture
async def handler(bus: Bus) -> Handler:
    handler = Handler()
    bus.consume(DURABLE, {Topic.DESIRED: handler}, plan=handler.plan)
    await bus.control.start(bus.broker.connection)
    return handler


def client_of(bus: Bus) -> Client:
    return bus.broker.connection


async def replayed(bus: Bus, **request: object) -> ReplayReport:
    asked = ReplayRequest.model_validate({"start": 1, "up_to": 10**9, **request})
    return await ask(client_of(bus), "test", Verb.REPLAY, asked, ReplayReport, timeout=5)


async def test_pages_follow_on_each_other_and_end(bus: Bus) -> None:
    events = [desired_event(make_desired(generation=number)) for number in range(1, 6)]
    for event in events:
        await bus.publish(event)
    first = await bus.log.page(limit=3)
    second = await bus.log.page(start=4, limit=3)
    assert [message.sequence for message in first.messages + second.messages] == [1, 2, 3, 4, 5]
    assert (first.left, second.left) == (2, 0)
    assert [message.event().id async for message in bus.log.read()] == [event.id for event in events]
    assert await bus.log.last_sequence() == 5


async def test_the_log_is_narrowed_by_instance_time_and_end(bus: Bus) -> None:
    mine, other = make_desired(), make_desired()
    await bus.publish(desired_event(mine))
    await bus.publish(desired_event(other))
    between = datetime.now(UTC)
    await bus.publish(observed_event(make_observed(instance_id=mine.instance_id)))
    subject = f"clawstead.v1.*.{mine.instance_id}"
    assert [message.sequence async for message in bus.log.read(subject=subject)] == [1, 3]
    assert [message.sequence async for message in bus.log.read(start=between)] == [3]
    assert [message.sequence async for message in bus.log.read(up_to=2)] == [1, 2]


async def test_an_empty_log_is_no_error(bus: Bus) -> None:
    assert [message async for message in bus.log.read()] == []
    assert await bus.log.last_sequence() == 0


async def test_headers_that_look_like_an_answer_end_no_page(bus: Bus) -> None:
    subject = subject_of(Topic.DESIRED, make_desired().instance_id)
    odd = {"Status": "404", "Nats-Sequence": "abc", "Nats-Num-Pending": "x"}
    await bus.jetstream.publish(subject, b"poison", headers=odd)
    await bus.publish(desired_event(make_desired()))
    assert [message.sequence async for message in bus.log.read()] == [1, 2]


async def test_a_missing_stream_is_not_an_empty_log(bus: Bus) -> None:
    with pytest.raises(TransientError, match="no stream NOWHERE"):
        await Log(lambda: client_of(bus), "NOWHERE").page()


async def test_a_replay_handles_each_instance_once_and_says_where_it_goes_on(bus: Bus, handler: Handler) -> None:
    desired = make_desired()
    for generation in (1, 2, 3):
        await bus.publish(desired_event(desired.model_copy(update={"generation": generation})))
    report = await replayed(bus, limit=2)
    assert (report.next, report.read, report.handled) == (3, 2, 2)
    report = await replayed(bus, start=3)
    assert (report.next, report.read) == (None, 1)
    assert [event.data.generation for event in handler.seen] == [3]  # type: ignore[attr-defined]


async def test_a_replay_leaves_nothing_to_pages_that_cannot_handle_it(bus: Bus, handler: Handler) -> None:
    desired = make_desired()
    for generation in (1, 2, 3):
        await bus.publish(desired_event(desired.model_copy(update={"generation": generation})))
    await replayed(bus, limit=1, up_to=2)
    assert [event.sequence for event in handler.seen] == [1]
    await bus.jetstream.publish(subject_of(Topic.DESIRED, desired.instance_id), b"poison")
    await replayed(bus, limit=3)
    assert [event.sequence for event in handler.seen] == [1, 3]


async def test_a_dry_run_handles_nothing(bus: Bus, handler: Handler) -> None:
    await bus.publish(desired_event(make_desired()))
    report = await replayed(bus, dry_run=True)
    assert [effect.action for effect in report.effects] == ["look"]
    assert handler.seen == []


async def test_what_cannot_be_handled_is_named(bus: Bus, handler: Handler) -> None:
    handler.failure = TransientError("the engine is away")
    await bus.publish(desired_event(make_desired()))
    await bus.jetstream.publish(subject_of(Topic.DESIRED, make_desired().instance_id), b"poison")
    report = await replayed(bus)
    assert [failure.sequence for failure in report.failures] == [2, 1]
    assert report.failures[1].error == "the engine is away"
    assert report.handled == 0


async def test_a_redriven_message_is_handled_or_refused(bus: Bus, handler: Handler) -> None:
    event = desired_event(make_desired())
    headers, body = encode(event)
    message = RedriveRequest(subject=event.subject, headers=headers, body=base64.b64encode(body).decode(), sequence=7)
    await ask(client_of(bus), "test", Verb.REDRIVE, message, ReplayReport, timeout=5)
    assert [(seen.id, seen.sequence) for seen in handler.seen] == [(event.id, 7)]
    with pytest.raises(RefusedError, match="still malformed"):
        await ask(
            client_of(bus), "test", Verb.REDRIVE, message.model_copy(update={"body": ""}), ReplayReport, timeout=5
        )


async def test_a_service_that_is_not_there_is_told_at_once(bus: Bus) -> None:
    with pytest.raises(NobodyAnswersError, match="does not run"):
        await ask(client_of(bus), "nobody", Verb.REPLAY, ReplayRequest(start=1, up_to=1), ReplayReport, timeout=5)


async def test_a_request_that_is_not_understood_is_refused(bus: Bus, handler: Handler) -> None:
    class Nonsense(Message):
        start: str = "yesterday"

    with pytest.raises(RefusedError, match="not understood"):
        await ask(client_of(bus), "test", Verb.REPLAY, Nonsense(), ReplayReport, timeout=5)


async def test_the_newest_of_more_instances_than_a_page_holds(bus: Bus) -> None:
    first = [make_observed() for _ in range(PAGE + 5)]
    for generation in (1, 2):
        changed = [observed.model_copy(update={"generation": generation}) for observed in first]
        await asyncio.gather(*(bus.publish(observed_event(observed)) for observed in changed))
    newest = await bus.log.newest(all_of(Topic.OBSERVED))
    assert sorted(message.subject for message in newest) == sorted(
        subject_of(Topic.OBSERVED, observed.instance_id) for observed in first
    )
    assert {message.event().data.generation for message in newest} == {2}  # type: ignore[attr-defined]
    assert await bus.log.newest(all_of(Topic.HEALTH)) == []


async def test_where_the_newest_message_is_poison_the_event_before_it_counts(bus: Bus) -> None:
    known, unknown = desired_event(make_desired()), make_desired().instance_id
    await bus.publish(known)
    for subject in (known.subject, subject_of(Topic.DESIRED, unknown)):
        await bus.jetstream.publish(subject, b"poison")
    assert [event.id for event in await bus.log.newest_events(all_of(Topic.DESIRED))] == [known.id]
    assert [event.id for event in await bus.log.newest_events_of([known.subject])] == [known.id]
    assert [event.id for event in await bus.log.events(known.subject)] == [known.id]
