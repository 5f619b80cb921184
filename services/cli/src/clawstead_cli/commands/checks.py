"""Printing what was checked, for ``validate`` and ``test-deploy``."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from rich.text import Text

from clawstead_cli.console import stdout
from clawstead_cli.instance_tables import plain
from clawstead_cli.validation import Check


def print_checks(checks: Iterable[Check]) -> None:
    """Print a line for each check, and what to do about a bad one."""
    for check in checks:
        sign = Text("  ✓ ", "green") if check.good else Text("  ✗ ", "red")
        stdout.print(Text.assemble(sign, f"{check.name:<12} ", plain(check.seen)))
        if not check.good and check.todo:
            stdout.print(Text.assemble(" " * 17, ("do: ", "cyan"), plain(check.todo)))


def checks_document(checks: Sequence[Check]) -> dict[str, Any]:
    """Return checks for programs."""
    return {
        "valid": all(check.good for check in checks),
        "errors": [f"{check.name}: {check.seen}" for check in checks if not check.good],
        "checks": [{**asdict(check), "todo": "" if check.good else check.todo} for check in checks],
    }
