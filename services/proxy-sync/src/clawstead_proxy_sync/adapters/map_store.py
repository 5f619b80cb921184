"""The route map on disk: what it must hold, whether it still does, and how a new one gets there."""

from pathlib import Path

from clawstead_proxy_sync import nginx_map
from clawstead_proxy_sync.adapters.files import install, write_atomically, write_durably
from clawstead_proxy_sync.nginx_map import RouteMap


class MapStore:
    """One map file and its candidate. What was published last is also kept in memory, to repair from."""

    def __init__(self, path: Path, candidate: Path) -> None:
        self._path = path
        self._candidate = candidate
        self._good: bytes | None = None

    def load(self) -> RouteMap | None:
        """Return the last good table, None if there is none in memory and the file is missing or damaged."""
        if self._good is None:
            stored = _read(self._path)
            try:
                table = nginx_map.parse(stored) if stored is not None else None
            except ValueError:
                return None
            self._good = stored
            return table
        return nginx_map.parse(self._good)

    def propose(self, text: bytes) -> None:
        """Write the candidate."""
        write_durably(self._candidate, text)

    def accept(self, text: bytes) -> bytes | None:
        """Put the candidate, which holds ``text``, in place; return what was good before."""
        install(self._candidate, self._path)
        before, self._good = self._good, text
        return before

    def put(self, text: bytes) -> None:
        """Write the file itself, past the candidate."""
        write_atomically(self._path, text)
        self._good = text

    def repair(self) -> None:
        """Write the last good table again if the file differs from it."""
        if self._good is not None and not self.intact():
            write_atomically(self._path, self._good)

    def intact(self) -> bool:
        """Say whether the file holds the last good table, byte for byte."""
        return self._good is not None and _read(self._path) == self._good


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
