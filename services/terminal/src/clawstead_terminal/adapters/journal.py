"""The sessions that may have programs running, as files: what a killed gateway leaves is ended by the next.

Each file is locked (``flock``) while its session lives. The kernel drops the lock with the process, however it
ends, so an unlocked file is a session that nobody looks after; several gateways may share the directory.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from pydantic import ValidationError

from clawstead_terminal.records import SessionRecord

_FILE_BYTES = 64 * 1024
_DRAFT_SECONDS = 60.0


class JournalEntry:
    """One session's file, locked by this object."""

    def __init__(self, path: Path, descriptor: int, record: SessionRecord) -> None:
        self._path = path
        self._descriptor = descriptor
        self.record = record

    @classmethod
    def create(cls, directory: Path, record: SessionRecord) -> Self:
        """Write and lock a new file."""
        path = directory / f"{record.session_id}.json"
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        entry = cls(path, descriptor, record)
        entry.update(record)
        return entry

    def update(self, record: SessionRecord) -> None:
        """Replace what the file says."""
        self.record = record
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, record.model_dump_json().encode(), 0)

    def forget(self) -> None:
        """Remove the file: nothing of the session is left."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)

    def leave(self) -> None:
        """Keep the file for the next sweep."""
        os.close(self._descriptor)


class Journal:
    """The directory of sessions."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def open(self, record: SessionRecord) -> JournalEntry:
        """Note a session before its first program starts."""
        return JournalEntry.create(self._directory, record)

    def left(self) -> Iterator[JournalEntry]:
        """Take over, one by one, the sessions that nobody looks after."""
        for path in sorted(self._directory.glob("*.json")):
            if entry := _taken_over(path):
                yield entry


def _taken_over(path: Path) -> JournalEntry | None:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        record = SessionRecord.model_validate_json(os.pread(descriptor, _FILE_BYTES, 0))
    except BlockingIOError:
        os.close(descriptor)
        return None
    except ValidationError:
        # Cut short by a crash before its program started, unless it is being written right now.
        if time.time() - path.stat().st_mtime > _DRAFT_SECONDS:
            path.unlink(missing_ok=True)
        os.close(descriptor)
        return None
    return JournalEntry(path, descriptor, record)
