"""Asking before what cannot be taken back."""

import sys
from typing import Annotated

import typer

from clawstead_cli.errors import UsageError

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")]


def confirm(question: str, *, yes: bool) -> None:
    """Go on only with a yes: the option, or the answer of a person at a terminal.

    Raises:
        UsageError: nobody is there to be asked.
        typer.Abort: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(f"{question} Nobody is here to answer", hint="say yes beforehand with --yes")
    typer.confirm(question, abort=True, err=True)
