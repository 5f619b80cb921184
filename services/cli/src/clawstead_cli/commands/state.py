"""``clawstead state``: the fleet as it was at any moment of the log, and what differs between two."""

import asyncio
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from clawstead_cli.commands.options import AsJson, DataDir, Timeout
from clawstead_cli.console import print_table, stderr, stdout
from clawstead_cli.deadline import Deadline
from clawstead_cli.fleet import Difference, Fleet, Instance, differences
from clawstead_cli.fleet_text import difference_text, fleet_table
from clawstead_cli.log_access import OpenLog, opened_log, subject_for
from clawstead_cli.moments import Moment, parse_moment, shown
from clawstead_cli.settings import BusAddress, Settings
from clawstead_shared.ids import created_at

state = typer.Typer(help="Show the fleet as it was at any moment of the log.", invoke_without_command=True)

_NAMED = 5

At = Annotated[str, typer.Option("--at", help="A time, a sequence, or how long ago, as 10m.")]
OfInstance = Annotated[str | None, typer.Option("--instance", metavar="ID", help="Only this instance.")]
Every = Annotated[bool, typer.Option("--all", help="Removed instances, too.")]
First = Annotated[str, typer.Argument(metavar="A", help="A time, a sequence, or how long ago.", show_default=False)]
Second = Annotated[str, typer.Argument(metavar="[B]", help="The other moment.")]


@dataclass(frozen=True, slots=True)
class _Seen:
    """The fleet of one moment, and what its reader should know about how much of it the log still holds."""

    fleet: Fleet
    warnings: tuple[str, ...]


@state.callback()
def show(
    context: typer.Context,
    *,
    at: At = "now",
    instance: OfInstance = None,
    every: Every = False,
    as_json: AsJson = False,
    timeout: Timeout = 10,
    data_dir: DataDir = None,
) -> None:
    """Show what the log says of the fleet at a moment: the newest event of each instance and topic up to then.

    Times without a zone are UTC.
    """
    if context.invoked_subcommand:
        return
    (seen,) = asyncio.run(
        _look([parse_moment(at, now=datetime.now(UTC))], instance, timeout, Settings.load(data_dir).bus)
    )
    instances = seen.fleet.instances()
    listed = [one for one in instances if every or instance or not one.removed]
    _warn(seen)
    if as_json:
        stdout.print_json(
            data={"instances": [_row(one, whole=bool(instance)) for one in listed], "warnings": seen.warnings}
        )
        return
    print_table(fleet_table(listed))
    if hidden := len(instances) - len(listed):
        stderr.print(f"{hidden} removed instances are not shown; --all shows them")


@state.command()
def diff(
    first: First,
    second: Second = "now",
    *,
    instance: OfInstance = None,
    as_json: AsJson = False,
    timeout: Timeout = 10,
    data_dir: DataDir = None,
) -> None:
    """Show what differs between two moments, instance by instance and field by field."""
    now = datetime.now(UTC)
    before, after = asyncio.run(
        _look(
            [parse_moment(text, now=now) for text in (first, second)],
            instance,
            timeout,
            Settings.load(data_dir).bus,
        )
    )
    found = differences(before.fleet, after.fleet)
    _warn(before, after)
    if as_json:
        stdout.print_json(data={"instances": [_difference_row(one) for one in found]})
        return
    for one in found:
        stdout.print(difference_text(one))
    counts = {kind: sum(one.kind == kind for one in found) for kind in ("appeared", "vanished", "changed")}
    told = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    stderr.print(told or "nothing differs")


async def _look(moments: list[Moment], instance: str | None, timeout: float, bus: BusAddress) -> list[_Seen]:
    subject = subject_for(instance_id=instance)
    with stderr.status("reading the log") as status:
        async with opened_log(bus, Deadline.after(timeout)) as opened:
            seen = []
            for moment in moments:
                fleet = await opened.fleet(
                    moment, subject, lambda read: status.update(f"reading the log: {read} messages")
                )
                seen.append(_Seen(fleet, await _warnings(opened, moment, fleet, subject)))
            return seen


async def _warnings(opened: OpenLog, moment: Moment, fleet: Fleet, subject: str) -> tuple[str, ...]:
    found = []
    if not opened.last:
        found.append("the log is empty")
    elif isinstance(moment, int):
        if moment > opened.last:
            found.append(f"the log ends at {opened.last}: this is the newest state")
        elif moment < opened.first:
            found.append(f"the log begins at {opened.first}: of before it holds nothing")
    else:
        oldest = await opened.one(opened.first)
        if moment < oldest.stored_at:
            found.append(f"the log begins at {shown(oldest.stored_at)}: of before it holds nothing")
    lost = [
        instance_id
        for topic, instance_id in await opened.crowded(subject)
        if topic not in fleet.get(instance_id).events and not _made_after(instance_id, moment)
    ]
    if lost:
        found.append(
            f"older events are no longer held of {_few(dict.fromkeys(lost))}: their state of then is not known"
        )
    if fleet.unreadable:
        found.append(f"messages that are no events were left out: {_few(f'#{number}' for number in fleet.unreadable)}")
    return tuple(found)


def _made_after(instance_id: str, moment: Moment) -> bool:
    if isinstance(moment, int):
        return False
    try:
        return created_at(instance_id) > moment
    except ValueError:
        return False


def _few(names: Iterable[str]) -> str:
    first = list(names)
    more = len(first) - _NAMED
    return ", ".join(first[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _warn(*seen: _Seen) -> None:
    for warning in dict.fromkeys(warning for one in seen for warning in one.warnings):
        stderr.print(Text.assemble(("warning: ", "yellow"), warning))


def _row(instance: Instance, *, whole: bool) -> dict[str, Any]:
    topics = {topic.value: event.data.model_dump(mode="json") for topic, event in instance.events.items()}
    return {**instance.row(), **({"topics": topics} if whole else {})}


def _difference_row(found: Difference) -> dict[str, Any]:
    return {
        "id": found.id,
        "name": found.name,
        "kind": found.kind,
        "changes": [asdict(change) for change in found.changes],
    }
