"""Files that are either the old or the new one, never half of it, even after a power loss."""

import fcntl
import os
import stat
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Replace ``path`` by a file of exactly ``mode`` that holds ``content``.

    Raises:
        OSError: it could not be stored; the old file stays.
    """
    candidate = path.with_name(f".{path.name}.new")
    write_durably(candidate, content, mode=mode)
    install(candidate, path)


def write_durably(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Write a new file of exactly ``mode`` and wait until it is on disk. A reader may see it half written.

    Raises:
        OSError: it could not be stored.
    """
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except OSError as error:
        # Half a file is worth nothing, and takes the room that is missing. A full disk does not say which it is.
        path.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error


def install(candidate: Path, path: Path) -> None:
    """Put a file that is already safe on disk in the place of ``path``."""
    candidate.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def make_directory(path: Path, *, mode: int) -> None:
    """Make ``path`` a directory of exactly ``mode``, whatever the umask. Already there is success."""
    path.mkdir(parents=True, exist_ok=True)
    # Not set again where it is right: on a disk that can only be read, what is there must do.
    if stat.S_IMODE(path.stat().st_mode) != mode:
        path.chmod(mode)


def lock(path: Path) -> BinaryIO:
    """Take the lock that ``path`` stands for; it is held until the file is closed or the process ends.

    Raises:
        BlockingIOError: another process holds it.
    """
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise
    return file
