"""Writing files so that a crash leaves the old content or the new, never half of either."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from clawstead_provisioner.crashpoints import Place, crashpoint


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, atomically and durably."""
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        replace_files(directory, {path.name: content})
    finally:
        os.close(directory)


def replace_files(directory: int, files: Mapping[str, bytes], *, owner: int | None = None) -> None:
    """Replace files of an open directory, each atomically: mode 0600, optionally given to a uid and gid.

    Works on the open directory alone, so whoever may write to it cannot lead us elsewhere with links: the
    temporary file must not exist before, and the rename replaces a link instead of following it.
    """
    for name, content in files.items():
        _replace(directory, name, content, owner)
    os.fsync(directory)


def _replace(directory: int, name: str, content: bytes, owner: int | None) -> None:
    temporary = f".{name}.clawstead-new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=directory)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(temporary, flags, 0o600, dir_fd=directory)
    try:
        if owner is not None:
            os.fchown(handle, owner, owner)
        with os.fdopen(handle, "wb", closefd=False) as file:
            file.write(content)
            crashpoint(Place.FILE_HALF_WRITTEN)
        os.fsync(handle)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)
        raise
    finally:
        os.close(handle)
