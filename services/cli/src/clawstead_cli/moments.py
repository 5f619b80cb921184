"""Moments of the log as operators name them: a sequence, a time, or how long ago. Pure."""

from datetime import UTC, datetime

from clawstead_cli.durations import parse_duration
from clawstead_cli.errors import UsageError

Moment = int | datetime
"""A sequence of the log, or a time (UTC)."""


def parse_moment(text: str, *, now: datetime) -> Moment:
    """Read ``1042``, ``2026-11-21T10:00``, ``2026-11-21 10:00+02:00``, ``10m``, ``2h ago``, ``now``.

    A time without a zone is UTC; digits alone are a sequence.

    Raises:
        UsageError: it is none of them.
    """
    text = text.strip()
    if text.isdecimal() and text.isascii():
        return max(int(text), 1)
    if text == "now":
        return now
    try:
        return now - parse_duration(text.removesuffix("ago"))
    except (ValueError, OverflowError):
        pass
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is neither a time nor a sequence",
            hint="write 1042 (a sequence), 2026-11-21T10:00 (UTC) or 10m (that long ago)",
        ) from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def shown(time: datetime) -> str:
    """Return a time to the millisecond, in UTC."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"


def clock(time: datetime) -> str:
    """Return the time of day to the millisecond, in UTC."""
    return shown(time)[11:-1]
