"""What can never be handled is set aside with a reason that says why, and the others go on."""

from dataclasses import dataclass, field

import pytest

from clawstead_shared.events import Event, MalformedEventError, Payload, encode
from clawstead_shared.events.envelope import MAX_EVENT_BYTES
from clawstead_shared.ids import new_instance_id
from clawstead_shared.messaging import Bus, Log, Stored
from clawstead_shared.streams import DEAD_LETTER_STREAM, PROVISIONER, STATE_STREAM
from clawstead_shared.subjects import Topic, subject_of
from tests.support.factories import desired_event, make_desired, make_spec
from tests.support.wait import wait_until


@dataclass
class Poison:
    """A good event with one thing wrong."""

    reason: str
    headers: dict[str, str | None] = field(default_factory=dict)
    body: bytes | None = None
    subject: str | None = None


POISON = {
    "not JSON": Poison("Invalid JSON", body=b"hello"),
    "not text": Poison("Invalid JSON", body=b"\xff\xfe\x00"),
    "nothing": Poison("Invalid JSON", body=b""),
    "nested without end": Poison("recursion limit", body=b"[" * 100_000),
    "wrong schema": Poison("generation: Field required", body=b'{"instance_id": "01m7zmt2g5rj94j7dfcbtehag9"}'),
    "no event": Poison("should be an object", body=b"[]"),
    "of another instance": Poison("subject about", subject=subject_of(Topic.DESIRED, new_instance_id())),
    "of no instance": Poison("not a clawstead.v1 subject", subject="clawstead.v1.desired.nobody"),
    "no type": Poison("header 'ce-type' is missing", headers={"ce-type": None}),
    "unknown type": Poison("is not a valid EventType", headers={"ce-type": "clawstead.instance.cloned"}),
    "unknown version": Poison("CloudEvents version '2.0' is not known", headers={"ce-specversion": "2.0"}),
    "future schema": Poison("is not known: events of v1 name none", headers={"ce-dataschema": "urn:clawstead:v2"}),
    "not application/json": Poison("content type 'text/xml' is not known", headers={"content-type": "text/xml"}),
    "no time": Poison("Invalid isoformat", headers={"ce-time": "yesterday"}),
    "too big": Poison(f"at most {MAX_EVENT_BYTES}", body=b" " * (MAX_EVENT_BYTES + 1)),
    "as big as NATS takes": Poison(f"at most {MAX_EVENT_BYTES}", body=b" " * 1_000_000),
    "headers without end": Poison("Invalid JSON", headers={"x-long": "x" * 60_000}, body=b"hello"),
    "orders to the server": Poison("Invalid JSON", headers={"Nats-Expected-Stream": STATE_STREAM}, body=b"hello"),
    "a foreign tongue": Poison("is not a valid EventType", headers={"ce-type": "größer\u2028"}),
}


async def published(bus: Bus, poison: Poison) -> int:
    event = desired_event(make_desired())
    headers, body = encode(event)
    changed = {name: value for name, value in {**headers, **poison.headers}.items() if value is not None}
    acknowledged = await bus.jetstream.publish(
        poison.subject or event.subject, body if poison.body is None else poison.body, headers=changed
    )
    return acknowledged.seq


async def letters(bus: Bus) -> dict[int, Stored]:
    log = Log(lambda: bus.broker.connection, DEAD_LETTER_STREAM)
    return {int(letter.headers["x-dlq-sequence"]): letter async for letter in log.read(subject="clawstead.dlq.>")}


async def test_each_poison_is_set_aside_with_its_reason_and_the_others_go_on(bus: Bus) -> None:
    handled: list[str] = []

    async def handler(event: Event[Payload]) -> None:
        handled.append(event.id)

    bus.consume(PROVISIONER, {Topic.DESIRED: handler})
    await bus.start()
    sequences = {case: await published(bus, poison) for case, poison in POISON.items()}
    good = desired_event(make_desired())
    await bus.publish(good)

    async def all_set_aside() -> bool:
        return (await bus.jetstream.stream_info(DEAD_LETTER_STREAM)).state.messages >= len(POISON)

    await wait_until(all_set_aside)
    await wait_until(lambda: handled)
    assert handled == [good.id]
    found = await letters(bus)
    assert sorted(found) == sorted(sequences.values())
    for case, poison in POISON.items():
        letter = found[sequences[case]]
        assert poison.reason in letter.headers["x-dlq-reason"], case
        assert letter.headers["x-dlq-kind"] == "MalformedEventError", case
        assert letter.headers["x-dlq-consumer"] == "provisioner", case
        assert letter.subject == f"clawstead.dlq.provisioner.{letter.headers['x-dlq-subject']}", case
        assert len(letter.body) <= MAX_EVENT_BYTES, case
    whole = found[sequences["as big as NATS takes"]].headers
    assert whole["x-dlq-original-bytes"] == "1000000"
    assert "traceparent" not in found[sequences["not JSON"]].headers


async def test_an_event_that_is_too_big_is_refused_before_it_is_published(bus: Bus) -> None:
    desired = make_desired()
    spec = make_spec(desired.instance_id, name="x" * MAX_EVENT_BYTES)
    with pytest.raises(MalformedEventError, match="at most"):
        await bus.publish(desired_event(desired.model_copy(update={"spec": spec})))
    assert (await bus.jetstream.stream_info(STATE_STREAM)).state.messages == 0
