"""A copy of the built dashboard where nginx's unprivileged workers can read it, whoever owns the build's folder."""

import os
from pathlib import Path

from clawstead_proxy_sync.adapters.files import make_directory, write_atomically
from clawstead_proxy_sync.dashboard import START_PAGE

_READABLE = 0o755


class DashboardFiles:
    """The copy of one build."""

    def __init__(self, build: Path, copy: Path) -> None:
        self._build = build
        self._copy = copy

    def refresh(self) -> None:
        """Make the copy what the build is now. A build without a start page is not done: the copy stays.

        The start page comes after what it names, and what no build names any more goes last, so that a visitor
        never gets a page whose parts are missing.

        Raises:
            OSError: that is not possible now.
        """
        if not (self._build / START_PAGE).is_file():
            return
        make_directory(self._copy, mode=_READABLE)
        wanted = sorted(_files(self._build), key=lambda path: (path == Path(START_PAGE), path))
        for path in wanted:
            self._take_over(path)
        for path in _files(self._copy) - set(wanted):
            (self._copy / path).unlink()

    def _take_over(self, path: Path) -> None:
        source, target = self._build / path, self._copy / path
        state = source.stat()
        if target.is_file() and _same(state, target.stat()):
            return
        for folder in reversed(path.parents[:-1]):
            make_directory(self._copy / folder, mode=_READABLE)
        write_atomically(target, source.read_bytes())
        os.utime(target, ns=(state.st_mtime_ns, state.st_mtime_ns))


def _files(folder: Path) -> set[Path]:
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path for path in found if not any(part.startswith(".") for part in path.parts)}


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)
