"""``clawstead validate``: is an instance good, as a visitor and as the platform sees it?"""

import typer
from rich.text import Text

from clawstead_cli.adapters.edge import Edge
from clawstead_cli.api_access import api_of
from clawstead_cli.commands.checks import checks_document, print_checks
from clawstead_cli.commands.options import AsJson, DataDir, EveryInstance, OneInstance, Token, Url
from clawstead_cli.console import stdout
from clawstead_cli.errors import ExitCode
from clawstead_cli.inspection import inspect
from clawstead_cli.instance_tables import plain
from clawstead_cli.instances import Instances, chosen, require_choice
from clawstead_cli.run_record import RunRecord
from clawstead_cli.settings import Settings


def validate(
    instance: OneInstance = None,
    *,
    every: EveryInstance = False,
    url: Url = None,
    token: Token = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Check an instance from the outside in: certificate, route, gateway, state, monitor, warnings.

    Needs the API, and reaches the instance through the edge at its public address. With --all every instance
    that shall run is checked.

    Exit code 0 when all is good, 1 when a check failed.
    """
    require_choice(instance, every=every)
    edge = Edge(RunRecord.load(Settings.load(data_dir)).authorities)
    known = chosen(Instances(api_of(data_dir, url, token)), instance)
    targets = [each for each in known if not every or each.desired_state == "running"]
    found = [(each, inspect(each, edge)) for each in targets]
    valid = all(check.good for _, checks in found for check in checks)
    if as_json:
        rows = [{"id": each.id, "name": each.name, **checks_document(checks)} for each, checks in found]
        errors = [f"{row['name']}: {error}" for row in rows for error in row["errors"]]
        stdout.print_json(data={"valid": valid, "errors": errors, "instances": rows})
    else:
        for each, checks in found:
            stdout.print(Text.assemble((plain(each.name)), f" ({each.id}) {each.url}"))
            print_checks(checks)
        if not found:
            stdout.print("No instance shall run.")
    if not valid:
        raise typer.Exit(ExitCode.FAILED)
