"""``clawstead status``: what runs, and whether it is ready."""

from dataclasses import asdict
from datetime import timedelta

import typer
from rich.table import Table

from clawstead_cli.commands.options import AsJson, DataDir
from clawstead_cli.console import stdout
from clawstead_cli.errors import ExitCode
from clawstead_cli.platform import Platform, Status
from clawstead_cli.settings import Settings


def status(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show each process: its state, its process id, and what it waits for if it is not ready.

    Exit code 0 when all is ready, 1 when something is not, 4 when the platform is not running.
    """
    found = Platform(Settings.load(data_dir)).status()
    if as_json:
        stdout.print_json(data={**asdict(found), "ready": found.ready})
    elif found.running:
        _print_table(found)
    else:
        stdout.print("Clawstead is not running. `clawstead up` starts it.")
    if not found.ready:
        raise typer.Exit(ExitCode.FAILED if found.running else ExitCode.UNREACHABLE)


def _print_table(found: Status) -> None:
    table = Table("process", "state", "ready", "pid", "up for", "waits for", box=None, header_style="bold")
    for service in found.services:
        table.add_row(
            service.name,
            service.state,
            "[green]yes[/]" if service.ready else "[red]no[/]",
            str(service.pid or ""),
            str(timedelta(seconds=service.uptime_seconds)) if service.pid else "",
            "; ".join(f"{condition}: {why}" for condition, why in service.waiting.items()),
        )
    stdout.print(table)
    stdout.print(f"\n{found.url}")
