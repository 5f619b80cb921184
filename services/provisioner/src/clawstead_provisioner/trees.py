"""Copies and removes directories that somebody else filled: through open handles, following no link."""

import contextlib
import errno
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from clawstead_provisioner.errors import ProvisioningError
from clawstead_shared.events import Reason

_DEEPEST = 100
_CHUNK = 8 * 1024 * 1024
_BLOCK = 512
"""Unit of ``st_blocks``, whatever the file system's own."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a copy may cost."""

    deadline: float
    """On ``time.monotonic()``."""
    skipped: frozenset[str] = frozenset()
    """Names that are left out at the top."""


def copy_tree(source: int, target: int, bounds: Bounds) -> None:
    """Copy what is in the open directory ``source`` into the empty open directory ``target``, durably, owners kept.

    Regular files, directories and links are copied as such; sockets, pipes and devices mean nothing once their
    process has ended, and are left out.

    Raises:
        OSError: what the file system says, a full disk for one.
        ProvisioningError: ``storage_unusable``: too deep, or not done by the deadline.
    """
    _copy_directory(source, target, bounds, 0, bounds.skipped)


def tree_bytes(source: int, bounds: Bounds) -> int:
    """Return how much a copy would take up.

    Raises:
        OSError: what the file system says.
        ProvisioningError: ``storage_unusable``: too deep, or not done by the deadline.
    """
    return _measure(source, bounds, 0, bounds.skipped)


def remove_tree(path: Path) -> None:
    """Remove a directory and all that is in it, however deep; none is success.

    Raises:
        OSError: what the file system says.
    """
    # ``shutil.rmtree`` calls itself for each level, so a thousand nested directories would stand for ever.
    try:
        top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        moved = 0
        while names := _names(top):
            for name in names:
                moved = _remove_entry(name, top, moved)
    finally:
        os.close(top)
    path.rmdir()


def _remove_entry(name: str, top: int, moved: int) -> int:
    """Remove an entry of ``top``; the directories in it are moved up to ``top``, to have their turn there."""
    if not _is_directory(name, top):
        os.unlink(name, dir_fd=top)
        return moved
    inner = _enter(name, top)
    try:
        for child in _names(inner):
            if _is_directory(child, inner):
                moved = _move_up(child, inner, top, moved)
            else:
                os.unlink(child, dir_fd=inner)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=top)
    return moved


def _move_up(name: str, directory: int, top: int, moved: int) -> int:
    while True:
        moved += 1
        try:
            os.rename(name, f".removing-{moved}", src_dir_fd=directory, dst_dir_fd=top)
        except OSError as error:
            # Taken by something that was there before; the next number may be free.
            if error.errno not in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR}:
                raise
        else:
            return moved


def _names(directory: int) -> list[str]:
    return os.listdir(directory)


def _is_directory(name: str, parent: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


def _measure(source: int, bounds: Bounds, depth: int, skipped: frozenset[str]) -> int:
    _check(bounds, depth)
    total = 0
    for name in _names(source):
        if name in skipped:
            continue
        # The gateway still works in there: what is gone needs no room.
        with contextlib.suppress(FileNotFoundError):
            total += _measure_entry(name, source, bounds, depth)
    return total


def _measure_entry(name: str, source: int, bounds: Bounds, depth: int) -> int:
    found = os.stat(name, dir_fd=source, follow_symlinks=False)
    total = found.st_blocks * _BLOCK
    if stat.S_ISDIR(found.st_mode):
        handle = _enter(name, source)
        try:
            total += _measure(handle, bounds, depth + 1, frozenset())
        finally:
            os.close(handle)
    return total


def _copy_directory(source: int, target: int, bounds: Bounds, depth: int, skipped: frozenset[str]) -> None:
    for name in _names(source):
        if name not in skipped:
            _check(bounds, depth)
            _copy_entry(name, source, target, bounds, depth)
    found = os.fstat(source)
    os.fchown(target, found.st_uid, found.st_gid)
    os.fchmod(target, stat.S_IMODE(found.st_mode))
    os.fsync(target)


def _copy_entry(name: str, source: int, target: int, bounds: Bounds, depth: int) -> None:
    found = os.stat(name, dir_fd=source, follow_symlinks=False)
    if stat.S_ISDIR(found.st_mode):
        os.mkdir(name, 0o700, dir_fd=target)
        inner, copied = _enter(name, source), _enter(name, target)
        try:
            _copy_directory(inner, copied, bounds, depth + 1, frozenset())
        finally:
            os.close(inner)
            os.close(copied)
    elif stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
    elif stat.S_ISREG(found.st_mode):
        _copy_file(name, source, target, bounds)


def _copy_file(name: str, source: int, target: int, bounds: Bounds) -> None:
    # Non-blocking: a pipe put in the file's place in this moment must not hold us.
    original = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
    try:
        found = os.fstat(original)
        if not stat.S_ISREG(found.st_mode):
            return
        copy = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target)
        try:
            offset = 0
            while sent := os.sendfile(copy, original, offset, _CHUNK):
                offset += sent
                _check(bounds, 0)
            os.fchown(copy, found.st_uid, found.st_gid)
            os.fchmod(copy, stat.S_IMODE(found.st_mode))
            os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))
            os.fsync(copy)
        finally:
            os.close(copy)
    finally:
        os.close(original)


def _enter(name: str, parent: int) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)


def _check(bounds: Bounds, depth: int) -> None:
    if depth > _DEEPEST or time.monotonic() > bounds.deadline:
        why = "nested too deeply" if depth > _DEEPEST else "too large"
        raise ProvisioningError(
            Reason.STORAGE_UNUSABLE, f"the instance's state is {why} to be kept aside: tidy up what is in ~/.openclaw"
        )
