"""Events and their stories as styled text. Pure; everything that came over the bus is made harmless for terminals."""

from collections.abc import Mapping

from rich.text import Text

from clawstead_cli.durations import duration
from clawstead_cli.entries import Entry, body_text, describe, type_name
from clawstead_cli.history import Chapter
from clawstead_cli.log_lines import plain
from clawstead_cli.moments import clock, shown

TOPIC_STYLES = {
    "desired": "cyan",
    "observed": "magenta",
    "route": "blue",
    "health": "green",
    "terminal": "yellow",
}
_BAD = {"failed", "update rolled back"}
_MAX_CHANGES = 40


def line(entry: Entry) -> Text:
    """Return one message on one line."""
    stored, event = entry.stored, entry.event
    text = Text(f"{clock(stored.stored_at)} ", "bright_black")
    text.append(f"{f'#{stored.sequence}':>7} ", "bright_black")
    if event is None:
        text.append(f"{'poison':<8} ", "red").append(plain(stored.subject))
        return text.append(f"  {plain(entry.problem)} ({len(stored.body)} bytes)", "red")
    text.append(f"{event.topic:<8} ", TOPIC_STYLES[event.topic]).append(f"{event.instance_id} ", "bright_black")
    text.append(type_name(event), _type_style(type_name(event)))
    return text.append(f"  {plain(describe(event.data))}")


def _type_style(name: str) -> str:
    return "bold red" if name in _BAD else "bold"


def whole(entry: Entry) -> Text:
    """Return everything that is known of one message."""
    stored, event = entry.stored, entry.event
    rows = {
        "sequence": str(stored.sequence),
        "stored": shown(stored.stored_at),
        "subject": stored.subject,
        "type": f"{type_name(event)}, by {event.source}" if event else None,
        "says": describe(event.data) if event else None,
        "trace": entry.trace_id,
    }
    text = Text()
    for name, value in rows.items():
        if value:
            text.append(f"{name:<10}", "bright_black").append(f"{plain(value)}\n")
    if entry.problem is not None:
        text.append("poison    ", "red").append(f"{plain(entry.problem)}\n", "red")
    return text.append_text(headers_and_body(stored.headers, stored.body))


def headers_and_body(headers: Mapping[str, str], body: bytes) -> Text:
    """Return a message's headers, and its body indented or in hexadecimal."""
    text = Text("\nheaders\n", "bold")
    for name, value in headers.items():
        text.append(f"  {plain(name)}: ", "bright_black").append(f"{plain(value)}\n")
    if not headers:
        text.append("  (none)\n", "bright_black")
    text.append(f"\nbody, {len(body)} bytes\n", "bold")
    return text.append(plain(body_text(body), keep_lines=True))


def chapter(told: Chapter) -> Text:
    """Return one cause and what followed."""
    text = _heading(told)
    for change in told.changes[:_MAX_CHANGES]:
        text.append(f"\n    ~ {plain(change.text)}", "yellow")
    if len(told.changes) > _MAX_CHANGES:
        text.append(f"\n    ~ and {len(told.changes) - _MAX_CHANGES} fields more", "yellow")
    for step in told.steps:
        text.append("\n").append_text(_step(told, step))
    if told.hops:
        text.append("\n    ").append_text(_hops(told))
    return text


def _heading(told: Chapter) -> Text:
    text = Text(f"{shown(told.began)} ", "bright_black")
    cause, desired = told.cause, told.desired
    if cause is None or cause.event is None or desired is None:
        return text.append("by itself", "bold")
    text.append(type_name(cause.event), "bold cyan")
    text.append(f"  generation {desired.generation}, {desired.desired_state}, by {plain(desired.actor)}")
    origin = [f"#{cause.stored.sequence}"]
    if desired.request_id:
        origin.append(f"request {plain(desired.request_id)}")
    if cause.trace_id:
        origin.append(f"trace {plain(cause.trace_id)}")
    text.append(f"\n    {', '.join(origin)}", "bright_black")
    if told.first and not told.changes:
        spec = desired.spec
        text.append(f"\n    + {plain(spec.name)}, plan {plain(spec.plan)}, image {plain(spec.image)}", "green")
    return text


def _step(told: Chapter, step: Entry) -> Text:
    text = Text(f"    {f'+{duration(told.since(step))}':>14}  ", "bright_black")
    text.append(f"{f'#{step.stored.sequence}':>7}  ", "bright_black")
    if step.event is None:
        return text.append(f"poison on {plain(step.stored.subject)}: {plain(step.problem)}", "red")
    event = step.event
    name = type_name(event)
    text.append(f"{plain(event.source):<11} ", TOPIC_STYLES[event.topic])
    return text.append(name, _type_style(name)).append(f"  {plain(describe(event.data))}")


def _hops(told: Chapter) -> Text:
    text = Text("desired", "bold")
    for hop in told.hops:
        text.append(f" -> {hop.name} ", "bold").append(duration(hop.seconds), "green")
    text.append("  total ").append(duration(told.total_seconds), "bold green")
    if told.outbox_seconds is not None:
        text.append(f"  (after {duration(told.outbox_seconds)} in the outbox)", "bright_black")
    return text
