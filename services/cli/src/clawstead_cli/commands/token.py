"""``clawstead token``: another admin token."""

from typing import Annotated

import typer

from clawstead_cli.adapters.api_program import ApiProgram
from clawstead_cli.commands.options import AsJson, DataDir
from clawstead_cli.console import stderr, stdout
from clawstead_cli.settings import Settings


def token(
    new: Annotated[bool, typer.Option("--new", help="Make another token; those made before stay valid.")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Print an admin token: the first one if nobody has asked yet, else another with --new.

    Only hashes are stored, so a token can be shown when it is made and never again.
    """
    api = ApiProgram(Settings.load(data_dir))
    made = api.new_token() if new else api.first_token()
    if as_json:
        stdout.print_json(data={"token": made})
    elif made is None:
        stderr.print("The admin token was shown when it was made; `clawstead token --new` makes another.")
    else:
        stdout.print(made, markup=False)
