"""``clawstead events replay``: have one service handle a stretch of the log again, or foresee what that would do."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Self

import typer
from nats.aio.client import Client
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from clawstead_cli.adapters.jetstream import connected_client
from clawstead_cli.asking import ask_service
from clawstead_cli.commands.confirmation import Yes, confirm
from clawstead_cli.commands.options import AsJson, DataDir
from clawstead_cli.console import print_json, print_table, stderr, stdout
from clawstead_cli.deadline import Deadline
from clawstead_cli.durations import duration
from clawstead_cli.errors import CommandError, ExitCode, UsageError
from clawstead_cli.interrupts import interruptible
from clawstead_cli.log_access import checked_instance, opened_log
from clawstead_cli.log_lines import plain
from clawstead_cli.moments import parse_moment
from clawstead_cli.programs import Service
from clawstead_cli.replaying import AskPage, Position, foresee, replay
from clawstead_cli.settings import Settings
from clawstead_shared.control import Effect, ReplayReport, ReplayRequest, Verb
from clawstead_shared.messaging.log import EVERYTHING
from clawstead_shared.streams import CONSUMERS
from clawstead_shared.subjects import ROOT, all_of, subject_of

_CONNECT_SECONDS = 10.0
_SHOWN_FAILURES = 20
_TOPICS = {consumer.durable: consumer.topics for consumer in CONSUMERS}

Whose = Annotated[Service, typer.Option("--service", help="Who handles them again.", show_default=False)]
FromSeq = Annotated[int | None, typer.Option(min=1, help="First sequence.")]
Since = Annotated[str | None, typer.Option(help="First moment: a time (UTC), a sequence, or how long ago, as 10m.")]
OfInstance = Annotated[str | None, typer.Option("--instance", metavar="ID", help="Only this instance.")]
UpTo = Annotated[str | None, typer.Option(help="Last moment.", show_default="the newest event")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only tell every effect it would have.")]
Rate = Annotated[int | None, typer.Option(min=1, help="At most so many events a second.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where an interrupted replay stopped.")]
PageTimeout = Annotated[float, typer.Option("--timeout", min=1, help="Give up on a page after so many seconds.")]


def replay_events(
    *,
    service: Whose,
    from_seq: FromSeq = None,
    since: Since = None,
    instance: OfInstance = None,
    up_to: UpTo = None,
    dry_run: DryRun = False,
    rate: Rate = None,
    resume: Resume = False,
    yes: Yes = False,
    as_json: AsJson = False,
    timeout: PageTimeout = 300,
    data_dir: DataDir = None,
) -> None:
    """Have a running service handle events again: from a sequence, a time, or all of one instance.

    New events are never held up. Ctrl-C stops between two pages; --resume goes on from there. Exit code 1 when
    an event could not be handled, 4 when the service does not run.
    """
    settings = Settings.load(data_dir)
    _require_replay(service)
    if resume == any((from_seq, since, instance, up_to)) or (dry_run and resume):
        raise UsageError(
            "say which events",
            hint="--from-seq, --since or --instance; or --resume alone to go on with the last replay",
        )
    path = settings.run_dir / f"replay-{service}.json"
    wanted = _Range(from_seq, since, instance, up_to)
    position = Position.load(path) if resume else asyncio.run(_position(settings, service, wanted))
    if dry_run:
        _print_effects(_foresee(settings, position, timeout), position, as_json=as_json)
        return
    if not resume:
        confirm(f"Have {service} handle {_events(position.total)} again?", yes=yes)
    seconds = _replay(settings, position, timeout, rate=rate, path=path)
    _print_result(position, seconds, as_json=as_json)
    if position.failed:
        raise typer.Exit(ExitCode.FAILED)


@dataclass(frozen=True, slots=True)
class _Range:
    """Which events, as the options say it."""

    from_seq: int | None
    since: str | None
    instance: str | None
    up_to: str | None


def _require_replay(service: Service) -> None:
    if service not in _TOPICS:
        raise UsageError(
            f"{service} has no place in the log to replay from",
            hint=f"those that have: {', '.join(_TOPICS)}; `clawstead rebuild terminal` has terminal read the log anew",
        )


async def _position(settings: Settings, service: Service, wanted: _Range) -> Position:
    now = datetime.now(UTC)
    instance = checked_instance(wanted.instance) if wanted.instance else None
    async with opened_log(settings.bus, Deadline.after(_CONNECT_SECONDS)) as opened:
        start = wanted.from_seq or 1
        if wanted.since:
            start = await opened.sequence_at(parse_moment(wanted.since, now=now))
        last = opened.last
        if wanted.up_to:
            last = min(last, await opened.last_before(parse_moment(wanted.up_to, now=now)))
        total = await opened.count(_subject(service, instance), start, last)
    return Position(service=service, next=start, up_to=max(last, 1), instance_id=instance, total=total)


def _subject(service: Service, instance: str | None) -> str:
    topics = _TOPICS[service]
    if instance is None:
        return all_of(topics[0]) if len(topics) == 1 else EVERYTHING
    return subject_of(topics[0], instance) if len(topics) == 1 else f"{ROOT}.*.{instance}"


def _foresee(settings: Settings, position: Position, timeout: float) -> list[Effect]:
    async def run() -> list[Effect]:
        async with connected_client(settings.bus, Deadline.after(_CONNECT_SECONDS)) as client:
            with _Bar(position) as bar:
                return await foresee(position, _pages(client, position.service, timeout), bar)

    with interruptible():
        return asyncio.run(run())


def _replay(settings: Settings, position: Position, timeout: float, *, rate: int | None, path: Path) -> float:
    async def run() -> None:
        async with connected_client(settings.bus, Deadline.after(_CONNECT_SECONDS)) as client:
            with _Bar(position) as bar:
                await replay(position, _pages(client, position.service, timeout), bar, rate=rate, path=path)

    started = time.monotonic()
    resumption = f"`clawstead events replay --service {position.service} --resume` goes on"
    try:
        with interruptible():
            asyncio.run(run())
    except KeyboardInterrupt:
        stderr.print(f"interrupted with {_events(position.left)} left; {resumption}")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except CommandError as error:
        if position.read:
            error.hint = f"{error.hint}; then {resumption}" if error.hint else resumption
        raise
    return time.monotonic() - started


def _pages(client: Client, service: str, timeout: float) -> AskPage:
    async def ask(request: ReplayRequest) -> ReplayReport:
        return await ask_service(client, service, Verb.REPLAY, request, ReplayReport, timeout=timeout)

    return ask


class _Bar:
    """A progress bar on standard error: how many, how fast, how much longer."""

    def __init__(self, position: Position) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=stderr,
            disable=not stderr.is_terminal,
        )
        self._before = position.read
        self._started = time.monotonic()
        self._task = self._progress.add_task(position.service, total=position.total, completed=position.read, rate="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def moved(self, position: Position) -> None:
        """See ``replaying.Watcher.moved``."""
        speed = (position.read - self._before) / max(time.monotonic() - self._started, 1e-6)
        self._progress.update(self._task, completed=position.read, rate=f"{speed:,.0f}/s")


def _events(count: int) -> str:
    return f"{count:,} event{'' if count == 1 else 's'}"


def _print_effects(effects: list[Effect], position: Position, *, as_json: bool) -> None:
    sums = dict(Counter(effect.action for effect in effects).most_common())
    if as_json:
        rows = [effect.model_dump() for effect in effects]
        failures = [failure.model_dump() for failure in position.failures]
        print_json({"events": position.read, "effects": rows, "sum": sums, "failures": failures})
        return
    table = Table("instance", "action", "detail", box=None, header_style="bold")
    for effect in effects:
        table.add_row(*(Text(plain(part)) for part in (effect.instance_id, effect.action, effect.detail)))
    if effects:
        print_table(table)
    _print_failures(position)
    told = ", ".join(f"{count:,} x {plain(action)}" for action, count in sums.items()) or "nothing"
    stdout.print(f"{_events(position.read)} would cause: {told}", markup=False)


def _print_result(position: Position, seconds: float, *, as_json: bool) -> None:
    if as_json:
        told = {"service", "read", "handled", "failed", "failures"}
        print_json({**position.model_dump(mode="json", include=told), "seconds": round(seconds, 3)})
        return
    _print_failures(position)
    style = "red" if position.failed else "green"
    text = Text(f"{_events(position.read)} in {duration(seconds)}: ")
    stdout.print(text.append(f"{position.handled:,} handled, {position.failed:,} failed", style))


def _print_failures(position: Position) -> None:
    for failure in position.failures[:_SHOWN_FAILURES]:
        stderr.print(Text.assemble(("✗ ", "red"), f"#{failure.sequence}: {plain(failure.error)}"))
    if more := position.failed - min(len(position.failures), _SHOWN_FAILURES):
        stderr.print(f"and {more:,} more; --json lists them")
