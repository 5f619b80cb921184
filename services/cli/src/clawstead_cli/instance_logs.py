"""An instance's newest log lines, read through the API; following is asking again and showing what is new. Pure."""

from collections.abc import Iterator, Sequence

from rich.text import Text

from clawstead_cli.instance_tables import plain
from clawstead_shared.control import MAX_LOG_LINES, LogLine

MOST_LINES = MAX_LOG_LINES


class Newer:
    """Keeps what was shown last, to tell what came after it."""

    def __init__(self) -> None:
        self._last: LogLine | None = None

    def of(self, lines: Sequence[LogLine]) -> Iterator[LogLine]:
        """Yield the lines of a newer look that were not in an earlier one; all, if it has nothing in common."""
        begin = 0
        if self._last is not None:
            # From the end: a gateway may say the same thing often, and the engine's times tell it apart.
            same = [number for number, line in enumerate(lines) if line == self._last]
            begin = same[-1] + 1 if same else 0
        yield from lines[begin:]
        self.skip(lines)

    def skip(self, lines: Sequence[LogLine]) -> None:
        """Take lines for shown."""
        if lines:
            self._last = lines[-1]


def render(line: LogLine) -> Text:
    """Return one line for human eyes."""
    time = f"{line.time:%H:%M:%S}.{line.time.microsecond // 1000:03}" if line.time else ""
    text = plain(Text.from_ansi(line.text).plain)
    return Text.assemble((f"{time:<12} ", "bright_black"), (text.plain, "red" if line.stream == "stderr" else ""))
