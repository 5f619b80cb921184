"""Messages of the log for operators: read as events where they are some, and shown as they are where not. Pure."""

import base64
import json
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from clawstead_shared.events import (
    Desired,
    Event,
    Health,
    MalformedEventError,
    Observed,
    Payload,
    Route,
    Terminal,
)
from clawstead_shared.messaging.log import Stored

_HEX_BYTES = 16
_HEX_MAX_BYTES = 512


@dataclass(frozen=True, slots=True)
class Entry:
    """One message of the log. Exactly one of ``event`` and ``problem`` is set."""

    stored: Stored
    event: Event[Payload] | None
    problem: str | None
    """Why it is no event."""

    @classmethod
    def of(cls, stored: Stored) -> "Entry":
        """Read a message."""
        try:
            return cls(stored, stored.event(), None)
        except MalformedEventError as error:
            return cls(stored, None, str(error))

    @property
    def trace_id(self) -> str | None:
        """What all events of one cause share."""
        return trace_id_of(self.stored.headers.get("traceparent"))

    def row(self) -> dict[str, Any]:
        """Return it for programs. ``body_base64`` stands in for a body that is not JSON."""
        stored, event = self.stored, self.event
        data = parsed(stored.body)
        return {
            "sequence": stored.sequence,
            "stored_at": stored.stored_at.isoformat(),
            "subject": stored.subject,
            "topic": event.topic if event else None,
            "instance_id": event.instance_id if event else None,
            "type": event.type if event else None,
            "source": event.source if event else None,
            "trace_id": self.trace_id,
            "problem": self.problem,
            "headers": dict(stored.headers),
            "data": data,
            **({"body_base64": base64.b64encode(stored.body).decode()} if data is None else {}),
        }


def trace_id_of(traceparent: str | None) -> str | None:
    """Return the trace id of a W3C ``traceparent``, None where there is none."""
    parts = (traceparent or "").split("-")
    return parts[1] if len(parts) >= 3 and parts[1] else None  # noqa: PLR2004 - version, trace, span


def type_name(event: Event[Payload]) -> str:
    """Return an event's type in words: ``start requested``, ``route changed``."""
    _, kind, name = event.type.split(".")
    words = name.replace("_", " ")
    return f"{kind} {words}" if kind == "route" else words


def describe(payload: Payload) -> str:
    """Return in a few words what an event says."""
    match payload:
        case Desired():
            return f"generation {payload.generation}: {payload.desired_state}, by {payload.actor}"
        case Observed():
            return _observed(payload)
        case Route():
            return f"{payload.hostname} -> {payload.upstream}" if payload.active else f"{payload.hostname} is off"
        case Health():
            return _health(payload)
        case Terminal():
            said = payload.end.reason if payload.end else f"{payload.owner_id} from {payload.remote}"
            return f"{said}, {payload.open_sessions} open"
    return ""


def _observed(payload: Observed) -> str:
    text = f"generation {payload.generation}: {payload.phase}"
    if payload.progress:
        percent = "" if payload.progress.percent is None else f" {payload.progress.percent} %"
        text += f", {payload.progress.step}{percent}"
    why = ": ".join(part for part in (payload.reason, payload.message) if part)
    return f"{text}, {why}" if why else text


def _health(payload: Health) -> str:
    text = str(payload.verdict)
    if payload.response_ms is not None:
        text += f" in {payload.response_ms:.0f} ms"
    if payload.failures:
        text += f" after {payload.failures} failed probes"
    if payload.error:
        text += f": {payload.error}"
    if payload.restart_wanted:
        text += f"; wants restart {payload.restart_wanted.attempt}"
    return text


def parsed(body: bytes) -> Any:
    """Return the body's JSON, None if it is none."""
    try:
        # Not Python's own parser: nested deeply enough, a body would exhaust its stack.
        return from_json(body, allow_inf_nan=False)
    except ValueError:
        return None


def body_text(body: bytes) -> str:
    """Return a body for reading: indented JSON, otherwise the beginning in hexadecimal."""
    document = parsed(body)
    if document is not None:
        return json.dumps(document, indent=2, ensure_ascii=False)
    if not body:
        return "(empty)"
    rows = [
        f"{start:04x}  {row.hex(' '):<{3 * _HEX_BYTES}} {''.join(map(_printable, row))}"
        for start in range(0, min(len(body), _HEX_MAX_BYTES), _HEX_BYTES)
        for row in (body[start : start + _HEX_BYTES],)
    ]
    left = len(body) - _HEX_MAX_BYTES
    return "\n".join([*rows, f"... {left} bytes more"] if left > 0 else rows)


def _printable(byte: int) -> str:
    return chr(byte) if 0x20 <= byte < 0x7F else "."  # noqa: PLR2004 - ASCII
