"""``clawstead logs``: the log of one of the platform's processes, or of one instance, for human eyes."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from clawstead_cli.api_access import api_of
from clawstead_cli.commands.options import DataDir, Token, Url
from clawstead_cli.console import stderr, stdout
from clawstead_cli.errors import CommandError, UnreachableError, UsageError
from clawstead_cli.instance_logs import MOST_LINES, Newer
from clawstead_cli.instance_logs import render as render_of_instance
from clawstead_cli.instances import Instances
from clawstead_cli.log_files import Follower, last_lines
from clawstead_cli.log_lines import render
from clawstead_cli.programs import NATS, Service
from clawstead_cli.settings import Settings
from clawstead_shared.control import InstanceLogs

_FOLLOW_SECONDS = 0.2
_ASK_SECONDS = 1.0

PROCESSES = [NATS, *(service.value for service in Service), "supervisord"]


def logs(
    source: Annotated[
        str,
        typer.Argument(
            metavar="PROCESS|INSTANCE",
            help=f"One of {', '.join(PROCESSES)}; or the id or name of an instance.",
            show_default=False,
            autocompletion=lambda: PROCESSES,
        ),
    ],
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many of the last lines.")] = 50,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each line as JSON, as it is stored.")] = False,
    url: Url = None,
    token: Token = None,
    data_dir: DataDir = None,
) -> None:
    """Show the newest lines of a log: of one of the platform's processes, or of an instance.

    A process's log is a file, DATA_DIR/logs/PROCESS.log, of JSON lines. An instance's is read through the API,
    at most 1000 lines; who follows it asks every second. A process is meant where both have the name.
    """
    with contextlib.suppress(KeyboardInterrupt):
        if source in PROCESSES:
            shown = (lambda line: line) if as_json else (lambda line: render(source, line))
            _show_file(Settings.load(data_dir).log_dir / f"{source}.log", lines, shown, follow=follow)
        else:
            _show_instance(_instances(data_dir, url, token), source, lines, follow=follow, as_json=as_json)


def _show_file(path: Path, lines: int, shown: Callable[[str], Text | str], *, follow: bool) -> None:
    if not path.exists() and not follow:
        raise CommandError(f"there is no log at {path}", hint="`clawstead up` starts the platform")
    follower = Follower(path)
    try:
        for line in last_lines(path, lines):
            stdout.print(shown(line), markup=False)
        while follow:
            for line in follower.lines():
                stdout.print(shown(line), markup=False)
            time.sleep(_FOLLOW_SECONDS)
    finally:
        follower.close()


def _instances(data_dir: Path | None, url: str | None, token: str | None) -> Instances:
    try:
        return Instances(api_of(data_dir, url, token))
    except UsageError as error:
        hint = f"{error.hint}; for a process: {', '.join(PROCESSES)}"
        raise UsageError(f"an instance's log comes from the API: {error}", hint=hint) from error


def _show_instance(known: Instances, name: str, lines: int, *, follow: bool, as_json: bool) -> None:
    try:
        instance = known.find(name)
    except CommandError as error:
        error.hint = f"{error.hint or ''}; processes are {', '.join(PROCESSES)}".lstrip("; ")
        raise
    newer, tail = Newer(), min(max(lines, 1), MOST_LINES)
    found = known.logs(instance.id, tail=tail)
    if found.truncated:
        stderr.print("[dim]older lines, or parts of long ones, are left out[/]")
    if lines:
        _print(newer, found, as_json=as_json)
    else:
        newer.skip(found.lines)
    while follow:
        time.sleep(_ASK_SECONDS)
        try:
            _print(newer, known.logs(instance.id, tail=MOST_LINES), as_json=as_json)
        except UnreachableError as error:
            stderr.print(f"[dim]{error}; asking again[/]")


def _print(newer: Newer, found: InstanceLogs, *, as_json: bool) -> None:
    for line in newer.of(found.lines):
        stdout.print(line.model_dump_json() if as_json else render_of_instance(line), markup=False)
