"""Where commands write: results to standard output, everything else to standard error."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType
from rich.status import Status
from rich.text import Text

from clawstead_cli.errors import CommandError

_WIDEST = 1000

stdout = Console(highlight=False, soft_wrap=True)
stderr = Console(stderr=True, highlight=False, soft_wrap=True)
_wide = Console(highlight=False, soft_wrap=True, width=_WIDEST)


def print_json(data: Any) -> None:
    """Print a result for programs; times as ISO 8601."""
    stdout.print_json(data=data, default=lambda value: value.isoformat())


def report(error: CommandError) -> None:
    """Tell what went wrong and what to do about it."""
    stderr.print(Text.assemble(("error: ", "bold red"), str(error)))
    if error.hint:
        stderr.print(Text.assemble(("hint:  ", "cyan"), error.hint))


def print_table(table: RenderableType) -> None:
    """Print a table as wide as it is: an id that is cut off is no id."""
    _wide.print(table)


class ConsoleProgress:
    """A spinner that says what is waited for, and a line for each step that is done."""

    def __init__(self, status: Status) -> None:
        self._status = status

    def waiting(self, what: str) -> None:
        """See ``platform.Progress.waiting``."""
        self._status.update(Text(f"waiting for {what}" if not what.startswith(("stopping", "ending")) else what))

    def done(self, what: str) -> None:
        """See ``platform.Progress.done``."""
        stderr.print(Text.assemble(("✓ ", "green"), what))


@contextmanager
def progress() -> Iterator[ConsoleProgress]:
    """Show progress on standard error while the block runs; without a terminal only the finished steps."""
    with stderr.status("") as status:
        yield ConsoleProgress(status)
