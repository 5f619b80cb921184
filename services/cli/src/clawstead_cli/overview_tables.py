"""The overview for people."""

from datetime import timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from clawstead_cli.bus_state import BusState, ConsumerState
from clawstead_cli.durations import days, duration
from clawstead_cli.instance_tables import plain, styled
from clawstead_cli.overview import Fleet, Outbox, Overview, Part, SiteCertificate
from clawstead_cli.platform import Status
from clawstead_shared.notices import Notice

_NOTICES_SHOWN = 5
_FEW_DAYS = 21


def process_table(found: Status) -> Table:
    """Return a line for each process."""
    table = Table("process", "state", "ready", "pid", "up for", "waits for", box=None, header_style="bold")
    for service in found.services:
        table.add_row(
            service.name,
            service.state,
            "[green]yes[/]" if service.ready else "[red]no[/]",
            str(service.pid or ""),
            str(timedelta(seconds=service.uptime_seconds)) if service.pid else "",
            plain("; ".join(f"{condition}: {why}" for condition, why in service.waiting.items())),
        )
    return table


def overview_page(found: Overview) -> Group:
    """Return everything."""
    parts: list[RenderableType] = [process_table(found.processes), Text()]
    parts += [_fleet_line(found.fleet), _outbox_line(found.outbox), _certificate_line(found.certificate)]
    parts += [Text(), *_bus_lines(found.bus)]
    return Group(*parts, Text(), Text(found.processes.url))


def _unread(name: str, part: Part[Any]) -> Text:
    return Text.assemble((f" {name:<10} ", "bold"), ("could not be read: ", "red"), plain(part.unread or ""))


def _fleet_line(part: Part[Fleet]) -> Text:
    if part.value is None:
        return _unread("instances", part)
    line = Text.assemble((" instances  ", "bold"))
    for phase, count in part.value.by_phase.items():
        line.append_text(Text.assemble(f"{count} ", styled(phase), "  "))
    for count, word in ((part.value.unhealthy, "unhealthy"), (part.value.stalled, "stalled")):
        if count:
            line.append(f"{count} {word}  ", "red")
    return line if part.value.by_phase else line.append("none")


def _outbox_line(part: Part[Outbox]) -> Text:
    if part.value is None:
        return _unread("outbox", part)
    outbox = part.value
    waits = f", the oldest for {duration(outbox.oldest_seconds)}" if outbox.pending and outbox.oldest_seconds else ""
    line = Text.assemble((" outbox     ", "bold"), f"{outbox.pending} waiting{waits}")
    return line.append(f"  {outbox.quarantined} quarantined", "red") if outbox.quarantined else line


def _certificate_line(part: Part[SiteCertificate]) -> Text:
    if part.value is None:
        return _unread("certificate", part)
    left, served = part.value.days_left, part.value.served
    line = Text.assemble((" certificate ", "bold"))
    if left is None:
        return line.append("not looked at yet")
    said = f"{days(timedelta(days=left))} left" if left > 0 else "expired"
    line.append(said, "" if left >= _FEW_DAYS else "yellow" if left > 0 else "red")
    return line if served else line.append(", not what visitors get", "red")


def _bus_lines(part: Part[BusState]) -> list[RenderableType]:
    bus = part.value
    if bus is None:
        return [_unread("bus", part)]
    table = Table("consumer", "behind", "in work", "oldest", "dead letters", box=None, header_style="bold")
    for consumer in bus.consumers:
        table.add_row(*_consumer_cells(consumer))
    missing = [stream.name for stream in bus.streams if not stream.declared]
    lines: list[RenderableType] = [table]
    if missing:
        lines.append(Text(f" not declared: {', '.join(missing)}; `clawstead streams apply`", "red"))
    return [*lines, *map(_notice_line, bus.notices[-_NOTICES_SHOWN:])]


def _notice_line(notice: Notice) -> Text:
    return Text.assemble((f" {notice.at:%m-%d %H:%M:%S} ", "dim"), (f"{notice.kind} ", "yellow"), plain(notice.message))


def _consumer_cells(consumer: ConsumerState) -> tuple[RenderableType, ...]:
    if not consumer.declared:
        return (consumer.name, Text("not declared", "red"))
    dead = Text(str(consumer.dead_letters), "red" if consumer.dead_letters else "")
    oldest = duration(consumer.oldest_pending_seconds)
    return (consumer.name, str(consumer.pending), str(consumer.unacknowledged), oldest, dead)
