"""Saying once that something is wrong, and again only after it was well. Pure."""

from datetime import timedelta


class Episodes:
    """Something that is wrong or not, of several things by name."""

    def __init__(self, *, patience: timedelta = timedelta(0)) -> None:
        """Keep a name's trouble to ourselves until it has lasted for ``patience``."""
        self._patience = patience.total_seconds()
        self._since: dict[str, float] = {}
        self._told: set[str] = set()

    def begins(self, name: str, *, wrong: bool, now: float) -> bool:
        """Take in how ``name`` is at ``now`` (seconds), and return whether it is to be told now."""
        if not wrong:
            self._since.pop(name, None)
            self._told.discard(name)
            return False
        since = self._since.setdefault(name, now)
        if name in self._told or now - since < self._patience:
            return False
        self._told.add(name)
        return True
