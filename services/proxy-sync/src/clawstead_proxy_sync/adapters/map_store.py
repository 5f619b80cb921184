"""The route map on disk: what it must hold, whether it still does, and how a new one gets there."""

from pathlib import Path

from clawstead_proxy_sync import nginx_map
from clawstead_proxy_sync.adapters.files import install, write_atomically, write_durably
from clawstead_proxy_sync.errors import EdgeRefusedError
from clawstead_proxy_sync.nginx_map import RouteMap


class MapStore:
    """One map file and its candidate. What was published last is also kept in memory, to repair from."""

    def __init__(self, path: Path, candidate: Path) -> None:
        self._path = path
        self._candidate = candidate
        self._good: bytes | None = None
        self._proposed: tuple[RouteMap, bytes] | None = None
        self.table: RouteMap | None = None
        """The table that is safe on disk, None while that is not known."""

    def load(self) -> RouteMap | None:
        """Return the last good table, None if there is none in memory and the file is missing or damaged."""
        if self.table is None:
            stored = _read(self._path)
            try:
                self.table = nginx_map.parse(stored) if stored is not None else None
            except ValueError:
                return None
            self._good = stored
        return self.table

    def propose(self, table: RouteMap) -> None:
        """Write the candidate.

        Raises:
            EdgeRefusedError: it would not read back as it was written.
        """
        text = _text(table)
        write_durably(self._candidate, text)
        self._proposed = table, text

    def accept(self) -> RouteMap | None:
        """Put the candidate in place; return what was good before."""
        assert self._proposed
        install(self._candidate, self._path)
        before = self.table
        self.table, self._good = self._proposed
        return before

    def put(self, table: RouteMap) -> None:
        """Write the file itself, past the candidate.

        Raises:
            EdgeRefusedError: it would not read back as it was written.
        """
        text = _text(table)
        write_atomically(self._path, text)
        self.table, self._good = table, text

    def repair(self) -> None:
        """Write the last good table again if the file differs from it."""
        if self._good is not None and not self.intact():
            write_atomically(self._path, self._good)

    def intact(self) -> bool:
        """Say whether the file holds the last good table, byte for byte."""
        return self._good is not None and _read(self._path) == self._good

    def damaged(self) -> bool:
        """Say whether there is a file that nobody can read."""
        return self.table is None and self._path.exists()


def _text(table: RouteMap) -> bytes:
    text = nginx_map.render(table)
    if nginx_map.parse(text) != table:
        raise EdgeRefusedError("the table does not read back as it was written")
    return text


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
