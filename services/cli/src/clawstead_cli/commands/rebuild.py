"""``clawstead rebuild`` and ``resync``: what services hold made anew from the log, or the log from what they hold."""

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from clawstead_cli.adapters.jetstream import connected_client
from clawstead_cli.asking import A, ask_service
from clawstead_cli.commands.confirmation import Yes, confirm
from clawstead_cli.commands.options import AsJson, DataDir
from clawstead_cli.console import print_json, print_table, stderr, stdout
from clawstead_cli.deadline import Deadline
from clawstead_cli.durations import duration
from clawstead_cli.errors import ExitCode
from clawstead_cli.programs import Service
from clawstead_cli.settings import Settings
from clawstead_shared.control import RebuildReport, ResyncReport, Verb

_CONNECT_SECONDS = 10.0
_DIGEST_CHARACTERS = 16


class Projection(StrEnum):
    """Who keeps something that the log can give anew."""

    API = Service.API.value
    PROXY_SYNC = Service.PROXY_SYNC.value
    HEALTH = Service.HEALTH.value
    TERMINAL = Service.TERMINAL.value


Whose = Annotated[Projection, typer.Argument(metavar="SERVICE", help="Whose.", show_default=False)]
Twice = Annotated[bool, typer.Option("--twice", help="Do it again, and prove that it gives the same.")]
AnswerTimeout = Annotated[float, typer.Option("--timeout", min=1, help="Give up after so many seconds.")]


def rebuild(
    service: Whose,
    *,
    twice: Twice = False,
    as_json: AsJson = False,
    timeout: AnswerTimeout = 600,
    data_dir: DataDir = None,
) -> None:
    """Have a service drop what it made of the log, and make it anew, while it goes on serving.

    Projections: api (instances and history), proxy-sync (routes), health (watch list), terminal (what its
    sessions are judged by). Exit code 1 when two rebuilds differ.
    """
    settings = Settings.load(data_dir)
    with stderr.status(f"{service} reads the log anew"):
        reports = [_asked(settings, service, Verb.REBUILD, RebuildReport, timeout) for _ in range(2 if twice else 1)]
    same = len({report.after for report in reports}) == 1
    if as_json:
        rows = [report.model_dump() for report in reports]
        print_json({"service": service.value, "rebuilds": rows, **({"same": same} if twice else {})})
    else:
        _print(reports, twice=twice, same=same)
    if not same:
        raise typer.Exit(ExitCode.FAILED)


def resync(yes: Yes = False, as_json: AsJson = False, timeout: AnswerTimeout = 600, data_dir: DataDir = None) -> None:
    """Have the API say again every desired state that the log lacks, as after the loss of NATS's store.

    What the log has already is not said twice; the services then bring everything to what is wanted.
    """
    confirm("Have the API publish again every desired state that the log lacks?", yes=yes)
    with stderr.status("the API compares its database with the log"):
        report = _asked(Settings.load(data_dir), Service.API, Verb.RESYNC, ResyncReport, timeout)
    if as_json:
        print_json(report.model_dump())
    else:
        stdout.print(f"{report.republished:,} published again, {report.already_there:,} were there")


def _asked(settings: Settings, service: str, verb: Verb, answer: type[A], timeout: float) -> A:
    async def run() -> A:
        async with connected_client(settings.bus, Deadline.after(_CONNECT_SECONDS)) as client:
            return await ask_service(client, service, verb, None, answer, timeout=timeout)

    return asyncio.run(run())


def _print(reports: Sequence[RebuildReport], *, twice: bool, same: bool) -> None:
    table = Table("before", "after", "entries", "time", "", box=None, header_style="bold")
    for report in reports:
        unchanged = report.before == report.after
        said = Text("as before", "green") if unchanged else Text("it was different before", "yellow")
        digests = (report.before[:_DIGEST_CHARACTERS], report.after[:_DIGEST_CHARACTERS])
        table.add_row(*digests, f"{report.entries:,}", duration(report.seconds), said)
    print_table(table)
    if twice and same:
        stdout.print("[green]twice the same[/]")
    elif not same:
        stdout.print(
            "[red]the two differ[/]: if nothing happened in between, what it makes of the log is not repeatable"
        )
