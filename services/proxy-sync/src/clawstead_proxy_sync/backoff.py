"""Waits that grow while something keeps failing."""


class Backoff:
    """Doubles from ``first`` to ``last`` seconds; ``reset`` after a success."""

    def __init__(self, *, first: float = 0.25, last: float = 30.0) -> None:
        self._first = first
        self._last = last
        self._next = first

    def next(self) -> float:
        """Return the seconds to wait now."""
        seconds, self._next = self._next, min(self._next * 2, self._last)
        return seconds

    def reset(self) -> None:
        """Start over."""
        self._next = self._first
