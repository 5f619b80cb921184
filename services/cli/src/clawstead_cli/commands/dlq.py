"""``clawstead dlq``: what consumers gave up, looked at, handed back, dropped."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.table import Table
from rich.text import Text

from clawstead_cli.adapters.jetstream import connected_client
from clawstead_cli.commands.confirmation import Yes, confirm
from clawstead_cli.commands.options import AsJson, DataDir, Timeout
from clawstead_cli.console import print_json, print_table, stderr, stdout
from clawstead_cli.dead_letters import DeadLetter, DeadLetters
from clawstead_cli.deadline import Deadline
from clawstead_cli.durations import duration
from clawstead_cli.errors import CommandError, ExitCode, UnreachableError, UsageError
from clawstead_cli.event_text import headers_and_body
from clawstead_cli.interrupts import interruptible
from clawstead_cli.log_access import checked_instance
from clawstead_cli.log_lines import plain
from clawstead_cli.moments import shown
from clawstead_cli.nats_errors import explained
from clawstead_cli.programs import Service
from clawstead_cli.settings import Settings

dlq = typer.Typer(no_args_is_help=True, help="Look at what consumers gave up; hand it back, or drop it.")

T = TypeVar("T")

_CONNECT_SECONDS = 10.0

Number = Annotated[int, typer.Argument(metavar="N", min=1, help="As `dlq list` numbers it.", show_default=False)]
Numbers = Annotated[list[int] | None, typer.Argument(metavar="N...", help="Which ones.", show_default=False)]
Every = Annotated[bool, typer.Option("--all", help="All of them.")]
OfService = Annotated[Service | None, typer.Option("--service", help="Only what this service gave up.")]
OfInstance = Annotated[str | None, typer.Option("--instance", metavar="ID", help="Only of this instance.")]


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Which dead letters: those with these numbers, or all that the rest leaves."""

    numbers: Sequence[int] | None
    service: Service | None = None
    instance: str | None = None


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one that was handed back."""

    letter: DeadLetter
    problem: str | None
    away: bool
    """Whether its service could not be asked."""


@dlq.command(name="list")
def list_all(
    *,
    service: OfService = None,
    instance: OfInstance = None,
    as_json: AsJson = False,
    timeout: Timeout = 10,
    data_dir: DataDir = None,
) -> None:
    """List what was given up, oldest first: by whom, why, and what it was."""
    found = _run(data_dir, timeout, lambda letters: _found(letters, _Chosen(None, service, instance)))
    if as_json:
        print_json([letter.row() for letter in found])
    elif found:
        print_table(_table(found))
    else:
        stdout.print("there are no dead letters")


@dlq.command()
def show(number: Number, *, as_json: AsJson = False, timeout: Timeout = 10, data_dir: DataDir = None) -> None:
    """Show everything about one, its body as JSON or in hexadecimal."""
    (letter,) = _run(data_dir, timeout, lambda letters: _found(letters, _Chosen([number])))
    if as_json:
        print_json(letter.document())
        return
    stdout.print(_whole(letter))


@dlq.command()
def redrive(
    numbers: Numbers = None,
    *,
    every: Every = False,
    service: OfService = None,
    instance: OfInstance = None,
    as_json: AsJson = False,
    timeout: Timeout = 120,
    data_dir: DataDir = None,
) -> None:
    """Hand them back to the service that gave them up, and to no other, oldest first.

    What it takes care of leaves the list, the others stay. Exit code 1 when one stays, 4 when the service does
    not run.
    """
    _require_choice(numbers, every=every)

    async def run(letters: DeadLetters) -> list[_Outcome]:
        return await _redriven(letters, await _found(letters, _Chosen(numbers, service, instance)), timeout)

    outcomes = _run(data_dir, timeout, run)
    failed = [outcome for outcome in outcomes if outcome.problem]
    if as_json:
        rows = [(outcome.letter.row(), outcome.problem) for outcome in outcomes]
        print_json([{**row, "handled": problem is None, "problem": problem} for row, problem in rows])
    else:
        stdout.print(f"{len(outcomes) - len(failed)} handled, {len(failed)} stay")
    if failed:
        raise typer.Exit(ExitCode.UNREACHABLE if any(outcome.away for outcome in failed) else ExitCode.FAILED)


@dlq.command()
def drop(
    numbers: Numbers = None,
    *,
    every: Every = False,
    service: OfService = None,
    instance: OfInstance = None,
    yes: Yes = False,
    as_json: AsJson = False,
    timeout: Timeout = 10,
    data_dir: DataDir = None,
) -> None:
    """Delete them for good. The log keeps the messages themselves."""
    _require_choice(numbers, every=every)
    found = _run(data_dir, timeout, lambda letters: _found(letters, _Chosen(numbers, service, instance)))
    if found:
        confirm(f"Drop {len(found)} of the dead letters for good?", yes=yes)

    async def run(letters: DeadLetters) -> None:
        for letter in found:
            await letters.drop(letter)

    _run(data_dir, timeout, run)
    if as_json:
        print_json([letter.row() for letter in found])
    else:
        stdout.print(f"{len(found)} dropped")


def _require_choice(numbers: Sequence[int] | None, *, every: bool) -> None:
    if bool(numbers) == every:
        raise UsageError("say which ones", hint="numbers as `clawstead dlq list` shows them, or --all")


def _run(data_dir: Path | None, timeout: float, action: Callable[[DeadLetters], Coroutine[Any, Any, T]]) -> T:
    async def run() -> T:
        connecting = Deadline.after(min(timeout, _CONNECT_SECONDS))
        async with connected_client(Settings.load(data_dir).bus, connecting) as client:
            with explained():
                return await action(DeadLetters(client))

    try:
        with interruptible():
            return asyncio.run(run())
    except KeyboardInterrupt:
        stderr.print("interrupted; what was not yet done stays as it is")
        raise typer.Exit(ExitCode.INTERRUPTED) from None


async def _found(letters: DeadLetters, chosen: _Chosen) -> list[DeadLetter]:
    if chosen.numbers:
        return [await letters.one(number) for number in dict.fromkeys(chosen.numbers)]
    instance_id = checked_instance(chosen.instance) if chosen.instance else None
    return [letter async for letter in letters.read(service=chosen.service, instance_id=instance_id)]


async def _redriven(letters: DeadLetters, found: Sequence[DeadLetter], timeout: float) -> list[_Outcome]:
    outcomes: list[_Outcome] = []
    away: dict[str, str] = {}
    for letter in found:
        problem = away.get(letter.service)
        if problem is None:
            try:
                await letters.redrive(letter, timeout=timeout)
            except UnreachableError as error:
                problem = away[letter.service] = str(error)
            except CommandError as error:
                problem = str(error)
        outcomes.append(_Outcome(letter, problem, away=letter.service in away))
        sign = Text("✗ ", "red") if problem else Text("✓ ", "green")
        stderr.print(
            Text.assemble(sign, f"{letter.number} {plain(letter.subject)}", f": {plain(problem)}" if problem else "")
        )
    return outcomes


def _table(found: Sequence[DeadLetter]) -> Table:
    columns = ("number", "age", "service", "kind", "subject", "sequence", "bytes", "trace", "reason")
    table = Table(*columns, box=None, header_style="bold")
    for letter in found:
        words = (letter.service, letter.kind, letter.subject)
        table.add_row(
            str(letter.number),
            duration(letter.age_seconds),
            *(Text(plain(word)) for word in words),
            str(letter.sequence or ""),
            str(len(letter.body)),
            Text(plain(letter.trace_id or "")),
            Text(plain(letter.reason), "red"),
        )
    return table


def _whole(letter: DeadLetter) -> Text:
    rows = {
        "number": str(letter.number),
        "set aside": f"{shown(letter.stored_at)}, {duration(letter.age_seconds)} ago",
        "service": letter.service,
        "kind": letter.kind,
        "reason": letter.reason,
        "subject": letter.subject,
        "sequence": f"{letter.sequence} (`clawstead events show {letter.sequence}`)" if letter.sequence else "",
        "trace": letter.trace_id or "",
    }
    text = Text()
    for name, value in rows.items():
        text.append(f"{name:<10}", "bright_black").append(f"{plain(value or 'not known')}\n")
    return text.append_text(headers_and_body(letter.headers, letter.body))
