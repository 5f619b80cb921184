"""Instances for people: a table of many, a page about one."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from clawstead_cli.instance import Instance

_STYLES = {"running": "green", "failed": "red", "stopped": "dim", "healthy": "green", "unhealthy": "red"}


def plain(value: object) -> Text:
    """Return what somebody else chose as text without control characters, never as markup."""
    return Text("".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(value)))


def styled(word: str) -> Text:
    """Return a phase or verdict in its colour."""
    return Text(word, _STYLES.get(word, "yellow"))


def list_table(instances: Iterable[Instance]) -> Table:
    """Return one line for each instance."""
    table = Table("id", "name", "plan", "phase", "health", "url", "to look after", box=None, header_style="bold")
    for each in instances:
        health = styled(each.health.verdict) if each.health else Text("")
        table.add_row(each.id, plain(each.name), each.plan, styled(each.phase), health, each.url, plain(_trouble(each)))
    return table


def page(instance: Instance, *, show_token: bool) -> Group:
    """Return everything about one instance."""
    table = Table(box=None, show_header=False)
    table.add_column(style="bold")
    table.add_column()
    for name, value in _lines(instance):
        table.add_row(name, value if isinstance(value, Text) else plain(value))
    lines: list[Any] = [table]
    # Lines, not cells: a table would cut what has to be copied whole to the width of the terminal.
    lines += [Text.assemble((" url  ", "bold"), instance.url)]
    if show_token:
        lines += [Text.assemble((" gateway token  ", "bold"), instance.gateway_token or "none yet")]
    return Group(*lines)


def document(instance: Instance, *, show_token: bool = False) -> dict[str, Any]:
    """Return an instance for programs: as the API tells it, the gateway token only on demand."""
    return instance.model_dump(mode="json", exclude=None if show_token else {"gateway_token"})


def _lines(instance: Instance) -> Sequence[tuple[str, object]]:
    behind = "" if instance.caught_up else f" (observed: {instance.observed_generation or 'none yet'})"
    lines: list[tuple[str, object]] = [
        ("id", instance.id),
        ("name", instance.name),
        ("plan", instance.plan),
        ("phase", styled(instance.phase)),
        ("wanted", instance.desired_state),
        ("generation", f"{instance.generation}{behind}"),
        ("image", _image(instance)),
        ("health", _health(instance)),
        ("route", "active" if instance.route_active else "not active"),
        ("restarts", instance.restart_count),
    ]
    optional = (
        ("progress", instance.now if instance.progress else None),
        ("reason", instance.reason),
        ("message", instance.message),
        ("stalled", instance.stalled_hint if instance.stalled else None),
        ("rejected image", _rejected(instance)),
    )
    lines += [(name, value) for name, value in optional if value]
    return [*lines, *(("warning", f"{warning.code}: {warning.message}") for warning in instance.warnings)]


def _image(instance: Instance) -> str:
    running = instance.running_image
    if running is None or (running.reference == instance.image and running.revision >= instance.image_revision):
        return f"{instance.image} {running.digest if running and running.digest else ''}".rstrip()
    return f"{instance.image} is wanted, {running.reference} runs"


def _rejected(instance: Instance) -> str | None:
    rejected = instance.rejected_image
    return f"{rejected.reference}: {rejected.message}" if rejected else None


def _health(instance: Instance) -> object:
    health = instance.health
    if health is None:
        return "not judged yet"
    took = "" if health.response_ms is None else f", {health.response_ms:.0f} ms"
    failures = f", {health.failures} failures: {health.error}" if health.failures else ""
    return f"{health.verdict} since {health.since:%Y-%m-%d %H:%M:%S} UTC{took}{failures}"


def _trouble(instance: Instance) -> str:
    if instance.reason:
        return f"{instance.reason}: {instance.message}"
    if instance.stalled:
        return instance.stalled_hint or "stalled"
    return ", ".join(warning.code for warning in instance.warnings)
