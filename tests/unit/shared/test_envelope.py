"""The envelope: what is written is read back, what is malformed says why."""

import json

import pytest
from pydantic import ValidationError

from clawstead_shared.events import Event, MalformedEventError, Observed, Phase, decode, encode
from clawstead_shared.ids import new_instance_id
from tests.support.factories import desired_event, make_desired, make_observed, observed_event


def test_an_event_survives_the_wire() -> None:
    event = desired_event(make_desired())
    headers, body = encode(event)
    read = decode(event.subject, {**headers, "traceparent": "00-abc"}, body, sequence=7)
    assert (read.data, read.id, read.type, read.time) == (event.data, event.id, event.type, event.time)
    assert (read.source, read.sequence, read.traceparent) == ("api", 7, "00-abc")
    assert headers["Nats-Msg-Id"] == headers["ce-id"] == event.id


def test_readers_ignore_unknown_fields_at_any_depth() -> None:
    event = observed_event(make_observed(exit={"code": 137}))
    headers, body = encode(event)
    newer = json.loads(body) | {"added_later": 1}
    newer["exit"]["added_later"] = 1
    assert decode(event.subject, headers, json.dumps(newer).encode()).data == event.data


def test_writers_may_not_add_fields() -> None:
    with pytest.raises(ValidationError):
        make_observed(typo=1)


@pytest.mark.parametrize("header", ["ce-id", "ce-type", "ce-source", "ce-time"])
def test_a_missing_header_is_named(header: str) -> None:
    event = observed_event(make_observed())
    headers, body = encode(event)
    del headers[header]
    with pytest.raises(MalformedEventError, match=header):
        decode(event.subject, headers, body)


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b'{"instance_id": "x"}', b"\xff\xfe"])
def test_a_malformed_body_is_refused(body: bytes) -> None:
    event = observed_event(make_observed())
    with pytest.raises(MalformedEventError):
        decode(event.subject, encode(event)[0], body)


def test_a_body_about_another_instance_is_refused() -> None:
    event = observed_event(make_observed())
    _, foreign = encode(observed_event(make_observed()))
    with pytest.raises(MalformedEventError, match="subject about"):
        decode(event.subject, encode(event)[0], foreign)


def test_an_error_never_repeats_what_it_read() -> None:
    event = observed_event(make_observed())
    body = b'{"instance_id": "canary-secret"}'
    with pytest.raises(MalformedEventError) as caught:
        decode(event.subject, encode(event)[0], body)
    assert "canary-secret" not in str(caught.value)


@pytest.mark.parametrize("phase", [phase for phase in Phase if phase is not Phase.PENDING])
def test_every_observable_phase_has_a_type(phase: Phase) -> None:
    event: Event[Observed] = observed_event(make_observed(new_instance_id(), phase=phase))
    assert event.type.startswith("clawstead.instance.")
