"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="CLAWSTEAD_DATA_DIR", help="Root of all state.", show_default="./data"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Timeout = Annotated[float, typer.Option("--timeout", min=1, help="Give up after so many seconds.")]
Url = Annotated[
    str | None, typer.Option(help="Address of the API.", show_default="that of the platform on this machine")
]
Token = Annotated[
    str | None,
    typer.Option(
        envvar="CLAWSTEAD_ADMIN_TOKEN",
        help="Token of the instances' owner; better in the variable, as `ps` shows what is given here.",
        show_default=False,
    ),
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is done, or return when it is ordered.")]
InstanceRef = Annotated[str, typer.Argument(metavar="INSTANCE", help="Its id or its name.", show_default=False)]
OneInstance = Annotated[
    str | None, typer.Argument(metavar="[INSTANCE]", help="Its id or its name.", show_default=False)
]
EveryInstance = Annotated[bool, typer.Option("--all", help="All instances.")]
