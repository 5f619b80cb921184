"""Messages as the log holds them, without a log."""

from datetime import UTC, datetime, timedelta

from clawstead_shared.events import Event, Payload, encode
from clawstead_shared.messaging.log import Stored

BEGIN = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)


def stored(event: Event[Payload], sequence: int, *, after: float | None = None, trace: str | None = None) -> Stored:
    """Return an event as it is stored, ``after`` seconds since the beginning (default: its sequence)."""
    headers, body = encode(event)
    if trace:
        headers["traceparent"] = f"00-{trace}-00f067aa0ba902b7-01"
    return Stored(sequence, event.subject, _at(sequence, after), headers, body)


def poison(
    sequence: int, body: bytes = b"\x1b[31m\xff", subject: str = "clawstead.v1.desired.x", after: float | None = None
) -> Stored:
    """Return a message that is no event."""
    return Stored(sequence, subject, _at(sequence, after), {}, body)


def _at(sequence: int, after: float | None) -> datetime:
    return BEGIN + timedelta(seconds=sequence if after is None else after)
