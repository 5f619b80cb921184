"""Where a command gets a secret from: a file, a variable, a hidden prompt; an argument only with a warning."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import typer

from clawstead_cli.console import stderr
from clawstead_cli.errors import UsageError


@dataclass(frozen=True, slots=True)
class SecretInput:
    """One secret, and the ways in which it may be given."""

    what: str
    option: str
    variable: str
    given: str | None
    file: Path | None

    def read(self) -> str:
        """Return the secret.

        Raises:
            UsageError: it is not given, and nobody is there to be asked.
        """
        if self.given is not None:
            stderr.print(
                f"[yellow]warning:[/] {self.option} shows the {self.what} to everybody who runs `ps`, and to the"
                f" shell's history; use {self.variable} or {self.option}-file"
            )
            return self.given
        if self.file is not None:
            return self._from(self.file)
        if found := os.environ.get(self.variable):
            return found
        if sys.stdin.isatty():
            return str(typer.prompt(f"The {self.what}", hide_input=True, err=True)).strip()
        raise UsageError(f"the {self.what} is missing", hint=f"set {self.variable}, or use {self.option}-file")

    def _from(self, path: Path) -> str:
        try:
            found = path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"the {self.what} cannot be read from {path}: {error}") from error
        if not found:
            raise UsageError(f"{path} is empty, it should hold the {self.what}")
        return found
