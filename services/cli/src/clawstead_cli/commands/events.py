"""``clawstead events``: the log itself, live, message by message, and as the story of an instance."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated

import typer
from nats.aio.client import Client
from rich.text import Text

from clawstead_cli.adapters.jetstream import connected_client
from clawstead_cli.commands.options import AsJson, DataDir, Timeout
from clawstead_cli.commands.replay import replay_events
from clawstead_cli.console import stderr, stdout
from clawstead_cli.deadline import Deadline
from clawstead_cli.entries import Entry
from clawstead_cli.errors import CommandError, UnreachableError
from clawstead_cli.event_text import chapter, line, whole
from clawstead_cli.history import chapter_row, story
from clawstead_cli.interrupts import interruptible
from clawstead_cli.log_access import OpenLog, opened_log, subject_for
from clawstead_cli.moments import Moment, parse_moment
from clawstead_cli.settings import BusAddress, Settings
from clawstead_cli.tailing import Tail
from clawstead_shared.errors import TransientError
from clawstead_shared.messaging.log import Log, Stored
from clawstead_shared.subjects import Topic

events = typer.Typer(no_args_is_help=True, help="Read the log of everything that was wanted and observed.")

_POLL_SECONDS = 0.25
_RECONNECT_SECONDS = 60.0

Sequence = Annotated[int, typer.Argument(metavar="SEQ", min=1, help="Its sequence.", show_default=False)]
InstanceId = Annotated[str, typer.Argument(metavar="INSTANCE", help="Its id.", show_default=False)]
OfInstance = Annotated[str | None, typer.Option("--instance", metavar="ID", help="Only of this instance.")]
OfTopic = Annotated[Topic | None, typer.Option("--topic", help="Only of this topic.")]
Since = Annotated[str | None, typer.Option(help="Begin at a time, a sequence, or as long ago as 10m.")]
Lines = Annotated[int, typer.Option("--lines", "-n", min=0, help="Begin with so many of the newest.")]


events.command(name="replay")(replay_events)


@events.command()
def tail(
    *,
    instance: OfInstance = None,
    topic: OfTopic = None,
    since: Since = None,
    lines: Lines = 20,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on until Ctrl-C.")] = True,
    as_json: AsJson = False,
    timeout: Timeout = 10,
    data_dir: DataDir = None,
) -> None:
    """Show the newest messages, then those that come, until Ctrl-C; restarts of NATS are waited out.

    Times are UTC. With --json every message is one line.
    """
    subject = subject_for(topic, instance)
    start = parse_moment(since, now=datetime.now(UTC)) if since else None
    bus = Settings.load(data_dir).bus
    with contextlib.suppress(KeyboardInterrupt), interruptible():
        place = asyncio.run(_beginning(bus, subject, start, lines, as_json=as_json, timeout=timeout))
        if follow:
            asyncio.run(_follow(bus, place, as_json))


async def _beginning(
    bus: BusAddress, subject: str, start: Moment | None, count: int, *, as_json: bool, timeout: float
) -> Tail:
    async with opened_log(bus, Deadline.after(timeout)) as opened:
        place = Tail(subject, opened.last + 1)
        async for message in _past(opened, subject, start, count):
            _show(message, as_json)
            place.saw(message)
        return place


async def _past(opened: OpenLog, subject: str, start: Moment | None, count: int) -> AsyncIterator[Stored]:
    if start is None:
        for message in await opened.newest(subject, count):
            yield message
        return
    async for message in opened.log.read(start=start, subject=subject):
        yield message


async def _follow(bus: BusAddress, place: Tail, as_json: bool) -> None:
    told = False
    while True:
        try:
            async with connected_client(bus, Deadline.after(_RECONNECT_SECONDS)) as client:
                await _follow_connected(client, place, as_json, told)
        except (TransientError, UnreachableError) as error:
            if not told:
                stderr.print(Text(f"lost the log: {error}; waiting for it", "yellow"))
            told = True
            await asyncio.sleep(_POLL_SECONDS)


async def _follow_connected(client: Client, place: Tail, as_json: bool, told: bool) -> None:
    log = Log(lambda: client)
    begun_anew = place.begun_anew
    while True:
        messages = await place.fresh(log)
        if told:
            stderr.print("[green]it is there again[/]")
            told = False
        if place.begun_anew > begun_anew:
            begun_anew = place.begun_anew
            stderr.print("[yellow]the log is shorter than it was: its store was lost, or a part of it[/]")
        for message in messages:
            _show(message, as_json)
        if not messages:
            await asyncio.sleep(_POLL_SECONDS)


def _show(message: Stored, as_json: bool) -> None:
    entry = Entry.of(message)
    if as_json:
        stdout.print(json.dumps(entry.row()), markup=False)
    else:
        stdout.print(line(entry))


@events.command()
def show(sequence: Sequence, *, as_json: AsJson = False, timeout: Timeout = 10, data_dir: DataDir = None) -> None:
    """Show one message: headers, body, when it was stored. What is no event is shown as it is."""
    entry = Entry.of(asyncio.run(_one(Settings.load(data_dir).bus, sequence, timeout)))
    if as_json:
        stdout.print_json(data=entry.row())
    else:
        stdout.print(whole(entry))


async def _one(bus: BusAddress, sequence: int, timeout: float) -> Stored:
    async with opened_log(bus, Deadline.after(timeout)) as opened:
        return await opened.one(sequence)


@events.command()
def history(instance: InstanceId, *, as_json: AsJson = False, timeout: Timeout = 10, data_dir: DataDir = None) -> None:
    """Tell an instance's story: each desired change, who made it, what it changed, and what followed how fast."""
    subject = subject_for(instance_id=instance)
    chapters = story(
        [Entry.of(message) for message in asyncio.run(_all(Settings.load(data_dir).bus, subject, timeout))]
    )
    if as_json:
        stdout.print_json(data=[chapter_row(told) for told in chapters])
        return
    if not chapters:
        raise CommandError(f"the log has nothing of {instance}", hint="`clawstead state --all` lists all it knows")
    for number, told in enumerate(chapters):
        stdout.print(*([""] if number else []), chapter(told), sep="\n")


async def _all(bus: BusAddress, subject: str, timeout: float) -> list[Stored]:
    async with opened_log(bus, Deadline.after(timeout)) as opened:
        return [message async for message in opened.log.read(subject=subject)]
