"""Frames, without a connection."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawstead_terminal import protocol
from clawstead_terminal.errors import Close, MalformedFrameError, RefusedError


def frame(**fields: object) -> str:
    return json.dumps(fields)


def test_the_first_frame_holds_ticket_and_size() -> None:
    auth = protocol.parse_auth(frame(type="auth", ticket="t", cols=100, rows=30))
    assert (auth.ticket, auth.size.cols, auth.size.rows) == ("t", 100, 30)


def test_the_size_defaults_and_unknown_fields_of_newer_clients_are_ignored() -> None:
    auth = protocol.parse_auth(frame(type="auth", ticket="t", theme="dark"))
    assert (auth.cols, auth.rows) == (80, 24)


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        (frame(type="auth"), "ticket"),
        (frame(type="auth", ticket=""), "ticket"),
        (frame(type="auth", ticket="x" * 4097), "ticket"),
        (frame(type="auth", ticket=7), "ticket"),
        (frame(type="resize", cols=1, rows=1), "type"),
        (frame(type="auth", ticket="t", cols=0), "cols"),
        (frame(type="auth", ticket="t", rows=1001), "rows"),
        (frame(type="auth", ticket="t", rows=-1), "rows"),
        (frame(type="auth", ticket="t", rows="24"), "rows"),
        (frame(type="auth", ticket="t", rows=1.5), "rows"),
        (frame(type="auth", ticket="t", rows=True), "rows"),
        ("null", "auth frame"),
        ("[]", "auth frame"),
        ("", "auth frame"),
        ("{" * 10_000, "auth frame"),
    ],
)
def test_a_malformed_first_frame_is_named_by_its_field(bad: str, field: str) -> None:
    with pytest.raises(MalformedFrameError, match=field):
        protocol.parse_auth(bad)


def test_the_first_frame_must_be_text() -> None:
    with pytest.raises(MalformedFrameError, match="text"):
        protocol.parse_auth(b"{}")


def test_an_error_does_not_repeat_the_ticket() -> None:
    with pytest.raises(MalformedFrameError) as error:
        protocol.parse_auth(frame(type="auth", ticket="s3cret" * 1000))
    assert "s3cret" not in str(error.value)
    assert error.value.__cause__ is None


def test_resize_is_the_only_control_frame() -> None:
    assert protocol.parse_control(frame(type="resize", cols=1, rows=1000)).size.rows == 1000
    for bad in ("x", frame(type="auth", ticket="t"), frame(type="resize", cols=1), frame(type="exit", code=0)):
        with pytest.raises(MalformedFrameError):
            protocol.parse_control(bad)


@given(st.text() | st.binary())
def test_no_frame_breaks_the_parser(anything: str | bytes) -> None:
    with pytest.raises(MalformedFrameError):
        protocol.parse_auth(anything)


def test_frames_for_the_client() -> None:
    assert json.loads(protocol.ready("s")) == {"type": "ready", "session_id": "s"}
    assert json.loads(protocol.exited(3)) == {"type": "exit", "code": 3}
    assert json.loads(protocol.redirect("u")) == {"type": "redirect", "url": "u"}
    refusal = RefusedError(Close.NOT_RUNNING, "not_running", 'it says "no"')
    assert json.loads(protocol.refused(refusal)) == {
        "type": "error",
        "code": "not_running",
        "message": 'it says "no"',
    }
