"""``clawstead check-health``: are the instances well? Made for cron."""

from dataclasses import asdict
from datetime import UTC, datetime

import typer
from rich.table import Table
from rich.text import Text

from clawstead_cli.api_access import api_of
from clawstead_cli.commands.options import AsJson, DataDir, EveryInstance, OneInstance, Token, Url
from clawstead_cli.console import print_json, print_table, stdout
from clawstead_cli.errors import ExitCode
from clawstead_cli.health_report import Checkup, checkup
from clawstead_cli.instance_tables import plain, styled
from clawstead_cli.instances import Instances, chosen, require_choice

_ALERTS = {"critical": Text("critical", "bold red"), "warning": Text("warning", "yellow")}


def check_health(
    instance: OneInstance = None,
    *,
    every: EveryInstance = False,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Say how one instance is, or all: what the health monitor found. Needs the API.

    The monitor probes and restarts by itself, all the time; this only reads what it says. For cron:
    `*/15 * * * * CLAWSTEAD_ADMIN_TOKEN=... clawstead check-health --all --json`.

    Exit code 0 when none is unhealthy (stopped as wanted, or starting, is not), 1 when one is.
    """
    require_choice(instance, every=every)
    now = datetime.now(UTC)
    known = Instances(api_of(data_dir, url, token))
    found = [checkup(each, now, known.last_start(each.id)) for each in chosen(known, instance)]
    healthy = not any(each.unhealthy for each in found)
    if as_json:
        print_json({"healthy": healthy, "instances": [asdict(each) for each in found]})
    elif found:
        print_table(_table(found))
    else:
        stdout.print("There are no instances.")
    if not healthy:
        raise typer.Exit(ExitCode.FAILED)


def _table(found: list[Checkup]) -> Table:
    columns = (
        "id",
        "name",
        "phase",
        "verdict",
        "alert",
        "failures",
        "response",
        "restarts",
        "last start",
        "what is wrong",
    )
    table = Table(*columns, box=None, header_style="bold")
    for each in found:
        table.add_row(
            each.id,
            plain(each.name),
            styled(each.phase),
            styled(each.verdict),
            _ALERTS.get(each.alert or "", Text("")),
            str(each.failures),
            "" if each.response_ms is None else f"{each.response_ms:.0f} ms",
            str(each.restarts),
            f"{each.last_start:%m-%d %H:%M:%S}" if each.last_start else "",
            plain(each.detail),
        )
    return table
