"""How much an instance's workspace holds, found out without trusting what is in it.

Everything is opened relative to its parent and no link is followed, so what is counted is inside. The scan is
bounded in entries, depth and time, and ends as soon as the limit is passed: nobody needs to know by how much.
"""

import contextlib
import os
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

_BLOCK_BYTES = 512
_DEEPEST = 64
_LOWEST_PRIORITY = 19
_ENTRIES_WITHOUT_PAUSE = 500
_PAUSE_SECONDS = 0.002


class Finding(Enum):
    """What a scan found."""

    WITHIN = "within"
    OVER = "over"
    UNKNOWN = "unknown"
    """The bounds of the scan were reached before the end and before the limit."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a scan may cost."""

    entries: int = 200_000
    seconds: float = 20


class _CutOffError(Exception):
    """A bound was reached."""


def scan(directory: Path, limit_bytes: int, bounds: Bounds) -> Finding:
    """Compare the disk space that files below ``directory`` take with a limit; a missing directory takes none."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
    total, linked = 0, set[int]()
    try:
        with _opened(directory) as handle:
            for found in _Walk(bounds).files(handle, 0):
                if found.st_nlink > 1:
                    if found.st_ino in linked:
                        continue
                    linked.add(found.st_ino)
                total += found.st_blocks * _BLOCK_BYTES
                if total > limit_bytes:
                    return Finding.OVER
    except FileNotFoundError:
        return Finding.WITHIN
    except (_CutOffError, OSError):
        return Finding.UNKNOWN
    return Finding.WITHIN


class _Walk:
    """One walk through a tree, and what it has cost so far."""

    def __init__(self, bounds: Bounds) -> None:
        self._entries = bounds.entries
        self._deadline = time.monotonic() + bounds.seconds

    def files(self, handle: int, depth: int) -> Iterator[os.stat_result]:
        with os.scandir(handle) as entries:
            for entry in entries:
                self._pay()
                try:
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(found.st_mode):
                        yield from self._below(entry.name, handle, depth)
                except FileNotFoundError:
                    continue  # gone since it was listed
                yield found

    def _below(self, name: str, parent: int, depth: int) -> Iterator[os.stat_result]:
        if depth == _DEEPEST:
            raise _CutOffError
        with _opened(name, parent) as handle:
            yield from self.files(handle, depth + 1)

    def _pay(self) -> None:
        self._entries -= 1
        if self._entries < 0 or time.monotonic() > self._deadline:
            raise _CutOffError
        if self._entries % _ENTRIES_WITHOUT_PAUSE == 0:
            time.sleep(_PAUSE_SECONDS)  # the event loop of this process goes first


@contextlib.contextmanager
def _opened(path: Path | str, parent: int | None = None) -> Iterator[int]:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        yield handle
    finally:
        os.close(handle)
