"""Lines of a container's output, made safe to show and kept small: pure.

What a gateway writes is its owner's business, and may hold anything: escape sequences that would take over the
reader's terminal, bytes that are no text, lines without end.
"""

import re
from collections import deque
from datetime import UTC, datetime
from typing import Literal

from clawstead_shared.control import InstanceLogs, LogLine
from clawstead_terminal.frames import STDERR

MOST_BYTES = 192 * 1024
"""Of text in one answer; as JSON it stays below what the bus takes."""
LONGEST_LINE = 8 * 1024
_LINE_OVERHEAD = 80

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # OSC and other strings: titles, links, clipboard
    r"|\x1b[ -/]*[0-~]"
)
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_TIME = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?Z ")


def clean(text: bytes) -> str:
    """Return ``text`` as characters that only show themselves; what is no UTF-8 becomes U+FFFD."""
    return _CONTROLS.sub("", _ESCAPES.sub("", text.decode(errors="replace")))


class Tail:
    """The newest lines, as many as fit."""

    def __init__(self) -> None:
        self._lines: deque[LogLine] = deque()
        self._bytes = 0
        self._truncated = False

    def take(self, channel: int, entry: bytes) -> None:
        """Add one entry, which begins with its time."""
        time, content = _split_time(entry.removesuffix(b"\n").removesuffix(b"\r"))
        text = clean(content[: 2 * LONGEST_LINE])
        if len(content) > 2 * LONGEST_LINE or len(text) > LONGEST_LINE:
            text, self._truncated = text[:LONGEST_LINE], True
        stream: Literal["stdout", "stderr"] = "stderr" if channel == STDERR else "stdout"
        self._lines.append(LogLine(time=time, stream=stream, text=text))
        self._bytes += _size(text)
        while self._bytes > MOST_BYTES:
            self._bytes -= _size(self._lines.popleft().text)
            self._truncated = True

    def result(self) -> InstanceLogs:
        """Return the lines, oldest first."""
        return InstanceLogs(lines=tuple(self._lines), truncated=self._truncated)


def _size(text: str) -> int:
    return len(text.encode()) + _LINE_OVERHEAD


def _split_time(entry: bytes) -> tuple[datetime | None, bytes]:
    found = _TIME.match(entry)
    if found is None:
        return None, entry
    fraction = (found[2] or b".").decode()[:7].ljust(7, "0")
    return datetime.fromisoformat(f"{found[1].decode()}{fraction}").replace(tzinfo=UTC), entry[found.end() :]
