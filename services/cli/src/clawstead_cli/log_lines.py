"""One log line for human eyes: time, process in its colour, level, event, the fields that matter. Pure."""

import json
import re
from typing import Any

from rich.text import Text

_COLOURS = {
    "nats": "bright_black",
    "api": "cyan",
    "provisioner": "magenta",
    "proxy-sync": "blue",
    "health": "green",
    "terminal": "yellow",
    "keeper": "bright_cyan",
    "supervisord": "white",
}
_LEVELS = {"warning": "yellow", "error": "red", "critical": "bold red"}
_SHOWN_APART = {"time", "level", "event", "service", "trace_id", "span_id", "exception"}
_NATS_LINE = re.compile(r"\[\d+\] \S+ (?P<time>[\d:]{8}\.\d{3})\d* \[(?P<level>[A-Z]{3})\] (?P<event>.*)")
_NATS_LEVELS = {"INF": "info", "WRN": "warning", "ERR": "error", "FTL": "critical", "DBG": "debug", "TRC": "debug"}
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_WIDTH = max(map(len, _COLOURS))
_FIELD_CHARACTERS = 200


def render(name: str, line: str) -> Text:
    """Return ``line`` of process ``name`` as styled text; what is not one of our lines is shown as it is."""
    entry = _parsed(line)
    text = Text(f"{entry.get('time', ''):<12} ", style="bright_black")
    text.append(f"{name:<{_WIDTH}} ", style=_COLOURS.get(name, "white"))
    level = str(entry.get("level", "info"))
    text.append(f"{level:<8} " if level != "info" else "", style=_LEVELS.get(level, ""))
    text.append(plain(entry.get("event", "")), style=_LEVELS.get(level, "bold"))
    for key, value in entry.items():
        if key not in _SHOWN_APART and value is not None:
            text.append(f" {plain(key)}=", style="bright_black")
            text.append(plain(value)[:_FIELD_CHARACTERS])
    if exception := entry.get("exception"):
        text.append("\n" + plain(exception, keep_lines=True), style="red")
    return text


def _parsed(line: str) -> dict[str, Any]:
    if line.startswith("{"):
        try:
            entry: dict[str, Any] = json.loads(line)
        except ValueError:
            return {"event": line}
        return {**entry, "time": str(entry.get("time", ""))[11:23]}
    if found := _NATS_LINE.match(line):
        return {**found.groupdict(), "level": _NATS_LEVELS.get(found["level"], "info")}
    return {"event": line}


def plain(value: Any, *, keep_lines: bool = False) -> str:
    """Return ``value`` as text that cannot command the terminal: it may repeat what a stranger sent."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if not keep_lines:
        text = text.replace("\n", "\\n")
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
