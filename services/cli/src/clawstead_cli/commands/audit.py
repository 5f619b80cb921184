"""``clawstead audit``: who changed what, and whether the chain of records is whole."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from pydantic import AwareDatetime, BaseModel, ConfigDict
from rich.table import Table

from clawstead_cli.api_access import api_of
from clawstead_cli.commands.options import AsJson, DataDir, Token, Url
from clawstead_cli.console import print_table, stderr, stdout
from clawstead_cli.errors import ExitCode, UsageError
from clawstead_cli.instance_tables import plain
from clawstead_cli.instances import Api, Instances, items_of
from clawstead_cli.moments import parse_moment, shown
from clawstead_shared.ids import is_instance_id

audit = typer.Typer(
    invoke_without_command=True, help="Show who changed what; `audit verify` checks the chain. Needs the API."
)

_PAGE = 200


class Record(BaseModel):
    """One change of an instance, as the API tells it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    number: int
    time: AwareDatetime
    actor: str
    request_id: str | None = None
    type: str
    instance_id: str
    generation: int


@audit.callback()
def list_(
    context: typer.Context,
    *,
    actor: Annotated[str | None, typer.Option(help="Only what this user or token changed.")] = None,
    instance: Annotated[str | None, typer.Option(help="Only changes of this instance, id or name.")] = None,
    since: Annotated[str | None, typer.Option(help="Only since then: 2h, 7d, 2026-11-21T10:00 (UTC).")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, newest first.")] = 50,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List changes of instances, newest first: who asked for what, in which request."""
    if context.invoked_subcommand is not None:
        return
    begin = _time(since)
    api = api_of(data_dir, url, token)
    found = _records(api, limit, actor=actor, instance=_instance_id(api, instance), since=begin)
    if as_json:
        stdout.print_json(data={"records": [record.model_dump(mode="json") for record in found]})
    elif found:
        print_table(_table(found))
    else:
        stdout.print("No change matches.")


@audit.command()
def verify(*, url: Url = None, token: Token = None, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Check every record against its digest, the one before it, and the event in the log.

    Names the first that was altered, is missing or out of order. Exit code 0 when the chain is whole, 1 when not.
    """
    verdict = api_of(data_dir, url, token).get("/audit/verify")
    if as_json:
        stdout.print_json(data=verdict)
    else:
        _tell(verdict)
    if not verdict.get("ok"):
        raise typer.Exit(ExitCode.FAILED)


def _tell(verdict: dict[str, Any]) -> None:
    if not verdict.get("log_checked", True):
        stderr.print("[yellow]NATS was away: only the chain itself could be checked, not the events in the log[/]")
    if verdict.get("ok"):
        in_log = verdict.get("in_log", 0)
        stdout.print(f"whole: {verdict.get('records', 0)} records, {in_log} of them compared with the log")
        return
    finding = verdict.get("finding") or {}
    stdout.print(f"record {finding.get('number')}: {finding.get('problem')}", style="red", markup=False)
    stdout.print(plain(finding.get("message", "")))


def _records(api: Api, limit: int, **wanted: str | None) -> list[Record]:
    found: list[Record] = []
    before: int | None = None
    while len(found) < limit:
        page = api.get("/audit", limit=min(_PAGE, limit - len(found)), before=before, **wanted)
        found += [Record.model_validate(item) for item in items_of(page)]
        before = page.get("next_before")
        if before is None:
            break
    return found


def _instance_id(api: Api, reference: str | None) -> str | None:
    # One that is removed has records too, but no name any more.
    if reference is None or is_instance_id(reference):
        return reference
    return Instances(api).find(reference).id


def _time(text: str | None) -> str | None:
    if text is None:
        return None
    moment = parse_moment(text, now=datetime.now(UTC))
    if isinstance(moment, int):
        raise UsageError(f"--since {text} is no time", hint="write 2h, 7d or 2026-11-21T10:00 (UTC)")
    return moment.isoformat()


def _table(found: Sequence[Record]) -> Table:
    table = Table(
        "number", "time", "actor", "change", "instance", "generation", "request", box=None, header_style="bold"
    )
    for record in found:
        change = record.type.removeprefix("clawstead.instance.")
        table.add_row(
            str(record.number),
            shown(record.time),
            plain(record.actor),
            change,
            record.instance_id,
            str(record.generation),
            plain(record.request_id or ""),
        )
    return table
