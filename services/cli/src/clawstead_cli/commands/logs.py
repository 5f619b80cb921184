"""``clawstead logs``: one process's log, for human eyes."""

import contextlib
import time
from enum import StrEnum
from typing import Annotated

import typer

from clawstead_cli.commands.options import DataDir
from clawstead_cli.console import stdout
from clawstead_cli.errors import CommandError
from clawstead_cli.log_files import Follower, last_lines
from clawstead_cli.log_lines import render
from clawstead_cli.programs import NATS, Service
from clawstead_cli.settings import Settings

_FOLLOW_SECONDS = 0.2

_NAMES = [NATS, *(service.value for service in Service), "supervisord"]
Process = StrEnum("Process", [(name, name) for name in _NAMES])  # type: ignore[misc]  # the names are not literals


def logs(
    service: Annotated[Process, typer.Argument(help="Whose log.", show_default=False)],
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Show the newest lines of one process's log. The files are in DATA_DIR/logs, as JSON lines."""
    path = Settings.load(data_dir).log_dir / f"{service}.log"
    if not path.exists() and not follow:
        raise CommandError(f"there is no log at {path}", hint="`clawstead up` starts the platform")
    follower = Follower(path)
    for line in last_lines(path, lines):
        stdout.print(render(service, line))
    with contextlib.suppress(KeyboardInterrupt):
        while follow:
            for line in follower.lines():
                stdout.print(render(service, line))
            time.sleep(_FOLLOW_SECONDS)
    follower.close()
