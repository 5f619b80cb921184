"""``clawstead dlq`` on a real server, with the services that gave up."""

import json
from typing import Any

from clawstead_cli.dead_letters import DeadLetters
from clawstead_shared.errors import TransientError
from clawstead_shared.events import Event, Payload, encode
from clawstead_shared.ids import new_instance_id
from clawstead_shared.messaging import Bus
from clawstead_shared.streams import DEAD_LETTER_STREAM, HEALTH, PROVISIONER
from clawstead_shared.subjects import Topic, dead_letter_subject, subject_of
from tests.integration.cli.operator import Operator
from tests.support.factories import desired_event, make_desired, make_observed, observed_event
from tests.support.recording_service import RecordingService

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def rows(operator: Operator, *arguments: str) -> list[dict[str, Any]]:
    outcome = operator.run("dlq", "list", "--json", *arguments)
    assert outcome.code == 0, outcome.error
    found: list[dict[str, Any]] = json.loads(outcome.out)
    return found


async def set_aside(bus: Bus, durable: str) -> str:
    """Store a dead letter as a consumer does; return the instance that it is about."""
    events: dict[str, Event[Payload]] = {
        "provisioner": desired_event(make_desired()),
        "health": observed_event(make_observed()),
    }
    event = events[durable]
    headers, body = encode(event)
    own = {
        "Nats-Msg-Id": f"dlq:{durable}:7",
        "x-dlq-consumer": durable,
        "x-dlq-kind": "DeliveriesExhausted",
        "x-dlq-reason": "the engine is away",
        "x-dlq-sequence": "7",
        "x-dlq-subject": event.subject,
        "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01",
    }
    subject = dead_letter_subject(durable, event.subject)
    await bus.jetstream.publish(subject, body, stream=DEAD_LETTER_STREAM, headers={**headers, **own})
    return event.instance_id


async def store_odd_ones(bus: Bus) -> None:
    """Store one without any header, and one whose headers are no text."""
    subject = dead_letter_subject("provisioner", subject_of(Topic.DESIRED, new_instance_id()))
    await bus.jetstream.publish(subject, b"\xff\x00\x1b[2J")
    headers = b"NATS/1.0\r\nx-dlq-reason: \xff\xfe\x1b[31m\r\nx-dlq-sequence: many\r\nce-id: \xff\r\n\r\n"
    client = bus.broker.connection
    await client.flush()
    assert client._transport
    client._transport.write(b"HPUB %s %d %d\r\n%s{}\r\n" % (subject.encode(), len(headers), len(headers) + 2, headers))
    await client.flush()


def test_a_redrive_reaches_only_who_gave_up_and_what_stays_is_listed(operator: Operator) -> None:
    instance_id = operator.wait(set_aside(operator.bus, "provisioner"))
    operator.wait(store_odd_ones(operator.bus))
    found = rows(operator)
    assert [(row["number"], row["service"]) for row in found] == [(number, "provisioner") for number in (1, 2, 3)]
    assert (found[0]["kind"], found[0]["reason"]) == ("DeliveriesExhausted", "the engine is away")
    assert (found[0]["sequence"], found[0]["trace_id"]) == (7, TRACE)
    assert [row["number"] for row in rows(operator, "--instance", instance_id)] == [1]

    with (
        operator.service(RecordingService(PROVISIONER)) as provisioner,
        operator.service(RecordingService(HEALTH)) as health,
    ):
        outcome = operator.run("dlq", "redrive", "--all")
    assert (outcome.code, "1 handled, 2 stay" in outcome.out) == (1, True)
    assert "still malformed" in outcome.error
    assert [event.instance_id for event in provisioner.seen] == [instance_id]
    assert health.seen == []
    assert [row["number"] for row in rows(operator, "--service", "provisioner")] == [2, 3]


def test_one_that_fails_again_stays_until_it_does_not(operator: Operator) -> None:
    operator.wait(set_aside(operator.bus, "health"))
    with operator.service(RecordingService(HEALTH)) as service:
        service.failure = TransientError("the gateway is away")
        outcome = operator.run("dlq", "redrive", "1", "--json")
        assert (outcome.code, json.loads(outcome.out)[0]["handled"]) == (1, False)
        assert len(rows(operator)) == 1
        service.failure = None
        assert operator.run("dlq", "redrive", "1").code == 0
        assert rows(operator) == []
        assert operator.run("dlq", "redrive", "1").code == 1


def test_poison_is_shown_as_it_is(operator: Operator) -> None:
    operator.wait(store_odd_ones(operator.bus))
    listed = operator.run("dlq", "list")
    assert (listed.code, "\x1b" in listed.out) == (0, False)
    shown = operator.run("dlq", "show", "1").out
    assert "ff 00 1b 5b 32 4a" in shown
    assert "not known" in shown
    assert json.loads(operator.run("dlq", "show", "2", "--json").out)["data"] == {}


def test_nothing_leaves_the_list_while_the_service_is_away(operator: Operator) -> None:
    operator.wait(set_aside(operator.bus, "health"))
    outcome = operator.run("dlq", "redrive", "1", "--json")
    assert outcome.code == 4
    assert [row["handled"] for row in json.loads(outcome.out)] == [False]
    assert len(rows(operator)) == 1


def test_dropping_asks_first_and_takes_what_was_meant(operator: Operator) -> None:
    operator.wait(set_aside(operator.bus, "health"))
    operator.wait(store_odd_ones(operator.bus))
    assert operator.run("dlq", "drop", "--all").code == 2
    assert operator.run("dlq", "drop", "--all", "--service", "provisioner", "--yes").code == 0
    assert [row["service"] for row in rows(operator)] == ["health"]
    assert operator.run("dlq", "drop", "99", "--yes").code == 1
    assert operator.run("dlq", "drop", "1", "--all", "--yes").code == 2


def test_one_that_somebody_else_dropped_meanwhile_is_no_error(operator: Operator) -> None:
    operator.wait(set_aside(operator.bus, "health"))

    async def drop_twice() -> None:
        letters = DeadLetters(operator.bus.broker.connection)
        letter = await letters.one(1)
        await letters.drop(letter)
        await letters.drop(letter)

    operator.wait(drop_twice())
    assert rows(operator) == []
