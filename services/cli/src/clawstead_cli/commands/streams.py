"""``clawstead streams``: declare the bus, and look at it."""

import asyncio
from dataclasses import asdict

import typer
from rich.table import Table

from clawstead_cli.bus_accounts import bus_accounts
from clawstead_cli.bus_seeds import ensure_seeds
from clawstead_cli.bus_state import ConsumerState, StreamState, look
from clawstead_cli.commands.options import AsJson, Timeout
from clawstead_cli.console import print_table, stderr, stdout
from clawstead_cli.deadline import Deadline
from clawstead_cli.durations import duration
from clawstead_cli.settings import Settings
from clawstead_cli.streams import apply_streams

streams = typer.Typer(no_args_is_help=True, help="Declare NATS streams, consumers and buckets, and look at them.")

_OUTCOME_STYLES = {"created": "green", "repaired": "yellow", "made anew": "yellow", "unchanged": "dim"}


@streams.command()
def apply(as_json: AsJson = False, timeout: Timeout = 30) -> None:
    """Declare everything the services need on the server that CLAWSTEAD_NATS_URL names.

    Running it again changes nothing; what was altered by hand is put back, and what is stored is kept. Waits
    for the server. Run it before the services of a new version start.
    """
    changes = asyncio.run(apply_streams(Settings.load().bus, Deadline.after(timeout)))
    if as_json:
        stdout.print_json(data=[asdict(change) for change in changes])
        return
    table = Table("kind", "name", "outcome", "what was put back", box=None, header_style="bold")
    for change in changes:
        style = _OUTCOME_STYLES[change.outcome]
        table.add_row(change.kind, change.name, f"[{style}]{change.outcome}[/]", "; ".join(change.differences))
    print_table(table)


@streams.command()
def show(as_json: AsJson = False, timeout: Timeout = 10) -> None:
    """Show how full the streams are, how far the consumers are behind, and what each gave up."""
    found = asyncio.run(look(Settings.load().bus, Deadline.after(timeout)))
    if as_json:
        stdout.print_json(
            data={
                "streams": [asdict(row) for row in found.streams],
                "consumers": [asdict(row) for row in found.consumers],
                "notices": [notice.model_dump(mode="json") for notice in found.notices],
            }
        )
        return
    print_table(_stream_table(found.streams))
    stdout.print()
    print_table(_consumer_table(found.consumers))


@streams.command()
def users(as_json: AsJson = False) -> None:
    """Print the users of the bus, as a server of your own has to know them: keys, accounts, permissions.

    For a NATS server that `clawstead up` does not start itself; include the text in its configuration. It holds
    public keys only. The secret halves are made the first time, in nats/seeds of the data directory, one file per
    user; from then on the platform and this command use them.
    """
    settings = Settings.load()
    keys = ensure_seeds(settings.seeds_dir)
    if as_json:
        stdout.print_json(data={"seeds": str(settings.seeds_dir), "keys": keys, "accounts": bus_accounts(keys)})
        return
    stdout.print(bus_accounts(keys), markup=False, highlight=False, soft_wrap=True, end="")
    stderr.print(f"seeds are in {settings.seeds_dir}")


def _stream_table(found: list[StreamState]) -> Table:
    table = Table("stream", "messages", "bytes", "of at most", "full", "last sequence", box=None, header_style="bold")
    for row in found:
        if row.declared:
            sizes = (str(row.size_bytes), str(row.max_bytes), f"{row.fill:.0%}")
            table.add_row(row.name, str(row.messages), *sizes, str(row.last_sequence))
        else:
            table.add_row(row.name, "[red]not declared[/]")
    return table


def _consumer_table(found: list[ConsumerState]) -> Table:
    columns = ("consumer", "waiting", "unacknowledged", "redelivered", "oldest", "dead letters")
    table = Table(*columns, box=None, header_style="bold")
    for row in found:
        if row.declared:
            numbers = (str(row.pending), str(row.unacknowledged), str(row.redelivered))
            dead = f"[red]{row.dead_letters}[/]" if row.dead_letters else "0"
            table.add_row(row.name, *numbers, duration(row.oldest_pending_seconds), dead)
        else:
            table.add_row(row.name, "[red]not declared[/]")
    return table
