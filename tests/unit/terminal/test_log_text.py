"""Output of containers becomes lines that only show themselves, few enough for one answer."""

import struct
from datetime import UTC, datetime

import pytest

from clawstead_terminal.errors import EngineError
from clawstead_terminal.frames import STDERR, STDOUT, Demultiplexer
from clawstead_terminal.log_text import LONGEST_LINE, MOST_BYTES, Tail, clean


def frame(channel: int, content: bytes) -> bytes:
    return struct.pack(">BxxxI", channel, len(content)) + content


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        (b"plain\ttext", "plain\ttext"),
        (b"\x1b[31mred\x1b[0m", "red"),
        (b"\x1b]0;owned\x07title", "title"),
        (b"\x1b]52;c;aGk=\x1b\\clipboard", "clipboard"),
        (b"\x1b]8;;never ends", ""),
        (b"\x1bcreset\rover\x00\x08\x7f", "resetover"),
        ("C1 \x9b31m, \u202egnp.exe".encode(), "C1 31m, gnp.exe"),
        ("größe 🦞".encode(), "größe 🦞"),
        (b"\xff\xfe half \xf0\x9f", "\ufffd\ufffd half \ufffd"),
    ],
)
def test_what_is_shown_is_text_and_nothing_else(written: bytes, shown: str) -> None:
    assert clean(written) == shown


def test_frames_come_apart_wherever_they_were_cut() -> None:
    sent = frame(STDOUT, b"one\n") + frame(STDERR, b"") + frame(STDERR, b"two\n")
    frames = Demultiplexer()
    found = [item for byte in sent for item in frames.feed(bytes([byte]))]
    assert found == [(STDOUT, b"one\n"), (STDERR, b""), (STDERR, b"two\n")]
    assert frames.pending == 0


def test_bytes_that_are_no_frames_are_refused_instead_of_gathered() -> None:
    with pytest.raises(EngineError, match="framed"):
        Demultiplexer().feed(b"\xff" * 64)


def test_lines_have_their_time_and_stream() -> None:
    tail = Tail()
    tail.take(STDOUT, b"2026-09-06T12:00:00.123456789Z hello\r\n")
    tail.take(STDERR, b"2026-09-06T12:00:01Z oh\n")
    tail.take(STDOUT, b"no time\n")
    lines = tail.result().lines
    assert [(line.stream, line.text) for line in lines] == [
        ("stdout", "hello"),
        ("stderr", "oh"),
        ("stdout", "no time"),
    ]
    assert lines[0].time == datetime(2026, 9, 6, 12, 0, 0, 123456, tzinfo=UTC)
    assert lines[1].time == datetime(2026, 9, 6, 12, 0, 1, tzinfo=UTC)
    assert lines[2].time is None
    assert not tail.result().truncated


def test_too_much_leaves_the_newest_and_says_so() -> None:
    tail = Tail()
    for number in range(100):
        tail.take(STDOUT, f"{number} {'x' * LONGEST_LINE * 3}".encode())
    result = tail.result()
    assert result.truncated
    assert result.lines[-1].text.startswith("99 ")
    assert {len(line.text) for line in result.lines} == {LONGEST_LINE}
    assert len(result.model_dump_json()) < 256 * 1024
    assert sum(len(line.text) for line in result.lines) <= MOST_BYTES
