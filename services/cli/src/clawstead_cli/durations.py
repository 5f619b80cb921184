"""Durations as people write and read them: ``850 ms``, ``2.4 s``, ``3 min 20 s``, ``4 d 2 h``. Pure."""

import re
from datetime import timedelta

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|min|[smhdw])")
_WHOLE = re.compile(rf"(?:{_PART.pattern}\s*)+")
_LONG = ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"))


def duration(seconds: float | None) -> str:
    """Return a duration in two units at most; nothing for None."""
    if seconds is None:
        return ""
    whole = round(seconds)
    for size, unit, smaller_size, smaller_unit in _LONG:
        if whole >= size:
            rest = whole % size // smaller_size
            return f"{whole // size} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s".replace(".0 ", " ")


def days(left: timedelta) -> str:
    """Return what is left of something long in whole days, the last of them as a duration."""
    return f"{left.days} days" if left.days > 1 else duration(max(left.total_seconds(), 0))


def parse_duration(text: str) -> timedelta:
    """Read ``10m``, ``2h30m``, ``1.5 h``, ``90s``.

    Raises:
        ValueError: it is no duration.
    """
    if not _WHOLE.fullmatch(text.strip()):
        raise ValueError(f"not a duration: {text!r}")
    return timedelta(seconds=sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text)))
