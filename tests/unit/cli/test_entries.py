"""Messages as operators see them, poison included."""

import json

import pytest

from clawstead_cli.entries import Entry, body_text, describe, trace_id_of, type_name
from clawstead_cli.event_text import line, whole
from clawstead_shared.events import Event, EventType, Health, Phase, Reason, SessionEnd, Terminal, Verdict
from tests.support.factories import desired_event, make_desired, make_observed, observed_event
from tests.support.stored_log import BEGIN, poison, stored

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
INSTANCE = "01j00000000000000000000000"


def test_an_event_is_one_line_and_one_document() -> None:
    entry = Entry.of(stored(desired_event(make_desired(INSTANCE)), 7, trace=TRACE))
    assert str(line(entry)) == f"10:00:07.000      #7 desired  {INSTANCE} created  generation 1: running, by test"
    row = entry.row()
    assert (row["sequence"], row["topic"], row["trace_id"], row["problem"]) == (7, "desired", TRACE, None)
    assert row["data"]["generation"] == 1
    assert "body_base64" not in row
    json.dumps(row)


@pytest.mark.parametrize("body", [b"", b"\xff\x00", b"\x1b[2J", b"[" * 100_000, b'{"a": "\x7f"}', b"null", b"NaN"])
def test_poison_is_shown_as_it_is_and_commands_no_terminal(body: bytes) -> None:
    entry = Entry.of(poison(3, body, subject="clawstead.v1.\x1b[31m"))
    assert entry.problem
    for text in (str(line(entry)), str(whole(entry))):
        assert "\x1b" not in text
        assert "\x7f" not in text
    json.dumps(entry.row())


def test_a_body_that_is_no_json_is_shown_in_hexadecimal() -> None:
    assert body_text(b'{"b": 1, "a": "\xc3\xa9"}') == '{\n  "b": 1,\n  "a": "é"\n}'
    assert body_text(b"ab\xff") == f"0000  {'61 62 ff':<48} ab."
    assert body_text(bytes(600)).endswith("... 88 bytes more")


@pytest.mark.parametrize(
    ("traceparent", "trace"), [(f"00-{TRACE}-00f067aa0ba902b7-01", TRACE), (None, None), ("", None), ("nonsense", None)]
)
def test_a_trace_id_is_read_from_what_came(traceparent: str | None, trace: str | None) -> None:
    assert trace_id_of(traceparent) == trace


def test_every_topic_is_described_in_words() -> None:
    failed = make_observed(INSTANCE, phase=Phase.FAILED, reason=Reason.CRASH_LOOP, message="it ended 5 times")
    assert describe(failed) == "generation 1: failed, crash_loop: it ended 5 times"
    sick = Health(instance_id=INSTANCE, verdict=Verdict.UNHEALTHY, since=BEGIN, failures=3, error="refused")
    assert describe(sick) == "unhealthy after 3 failed probes: refused"
    session = {"session_id": "s", "owner_id": "ada", "remote": "10.0.0.1", "opened_at": BEGIN, "open_sessions": 1}
    opened = Terminal(instance_id=INSTANCE, **session)
    assert describe(opened) == "ada from 10.0.0.1, 1 open"
    closed = opened.model_copy(update={"end": SessionEnd(ended_at=BEGIN, reason="left"), "open_sessions": 0})
    assert describe(closed) == "left, 0 open"
    assert type_name(observed_event(failed)) == "failed"
    assert type_name(Event(EventType.SESSION_OPENED, "terminal", opened)) == "session opened"
