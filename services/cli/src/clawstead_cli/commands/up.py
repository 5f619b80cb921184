"""``clawstead up``: start everything, say where it is, then show logs until Ctrl-C."""

import time
from typing import Annotated

import typer

from clawstead_cli.commands.options import DataDir, Timeout
from clawstead_cli.console import progress, stderr, stdout
from clawstead_cli.deadline import Deadline
from clawstead_cli.errors import ExitCode
from clawstead_cli.interrupts import ignore_interrupts, interruptible
from clawstead_cli.log_files import FollowedLogs
from clawstead_cli.log_lines import render
from clawstead_cli.platform import Platform
from clawstead_cli.settings import Settings

_FOLLOW_SECONDS = 0.2
_ALIVE_SECONDS = 2.0
_START_SECONDS = 120.0


def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when ready; `clawstead down` stops it.")
    ] = False,
    timeout: Timeout = _START_SECONDS,
    data_dir: DataDir = None,
) -> None:
    """Run the whole platform: NATS and the services.

    Waits until every service is ready, prints the address and, at the first start, the admin token. In the
    foreground it then shows the logs of all services until Ctrl-C, which stops everything. Run again while it
    is up, it says so. Stopped and run again, it resumes the same data.
    """
    settings = Settings.load(data_dir)
    platform = Platform(settings)
    started = time.monotonic()
    with interruptible():
        if _start(platform, Deadline.after(timeout)):
            stdout.print(f"\n[bold green]Clawstead is up[/] after {time.monotonic() - started:.1f} s\n")
            _print_addresses(platform)
            if not detach:
                _show_logs_until_interrupted(platform, settings)
        else:
            stdout.print(
                "Clawstead is up already. `clawstead logs SERVICE -f` shows logs, `clawstead down` stops it.\n"
            )
            _print_addresses(platform)


def _start(platform: Platform, deadline: Deadline) -> bool:
    """Bring everything up; False when it ran before, and belongs to who started it."""
    try:
        with progress() as shown:
            shown.waiting("other clawstead commands on this installation")
            with platform.exclusive(deadline):
                ran_before = platform.running
                if not (ran_before and platform.status().ready):
                    platform.start(shown, deadline)
                return not ran_before
    except BaseException as error:
        if platform.first_token:
            stdout.print(f"The admin token was made, it is shown only now: {platform.first_token}")
        if isinstance(error, KeyboardInterrupt):
            left = "; the platform runs on" if platform.running else "; everything is stopped"
            stderr.print(f"interrupted while starting{left}")
            raise typer.Exit(ExitCode.INTERRUPTED) from None
        raise


def _print_addresses(platform: Platform) -> None:
    record, token = platform.record, platform.first_token
    again = "shown at the first start; `clawstead token --new` makes another"
    # Lines, not a table: a table would cut the token to the width of the terminal.
    stdout.print(f"API          [bold]{record.url}/api/v1[/]")
    stdout.print(f"Admin token  [bold]{token}[/]  (shown once, keep it)" if token else f"Admin token  {again}")
    if record.certificates == "local":
        stdout.print(f"CA to trust  {record.ca_file}\n")
        trust = f'--cacert "{record.ca_file}" '
    else:
        stdout.print(f"Certificate  by {record.certificates}; `clawstead certs status` shows it\n")
        trust = ""
    stdout.print(f'Try:  curl {trust}-H "Authorization: Bearer $TOKEN" {record.url}/api/v1/plans\n')


def _show_logs_until_interrupted(platform: Platform, settings: Settings) -> None:
    stdout.print("[dim]Logs follow; Ctrl-C stops everything.[/]")
    logs = FollowedLogs(settings.log_dir, [service.name for service in platform.status().services])
    try:
        _follow(platform, logs)
        stderr.print("stopped by another command")
    except KeyboardInterrupt:
        stderr.print()
        _stop(platform)
    finally:
        logs.close()


def _follow(platform: Platform, logs: FollowedLogs) -> None:
    look = Deadline.after(_ALIVE_SECONDS)
    while True:
        for name, line in logs.lines():
            stdout.print(render(name, line))
        if look.passed:
            if not platform.running:
                return
            look = Deadline.after(_ALIVE_SECONDS)
        time.sleep(_FOLLOW_SECONDS)


def _stop(platform: Platform) -> None:
    ignore_interrupts()
    with progress() as shown, platform.exclusive(Deadline.after(_START_SECONDS)):
        killed = platform.stop(shown)
    if killed:
        stderr.print(f"[yellow]did not stop by themselves and were killed: {', '.join(killed)}[/]")
    stdout.print("Clawstead is stopped. The data stays; `clawstead up` resumes it.")
