"""The directories of instances: made, filled and removed without trusting what is in them.

    <instances>/<id>/              ours, root only
        applied.json               the settings that we wrote last
        config/                    the instance's, its image's uid, 0700: config file and .env, 0600
        workspace/  auth/          the instance's

Inside a directory that an instance may write to, everything goes through an open directory handle and no
link is followed: otherwise a link could make us read or replace a file of the host.
"""

import asyncio
import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from clawstead_provisioner.daemon_pool import DaemonPool
from clawstead_provisioner.errors import ProvisioningError
from clawstead_provisioner.files import replace_files
from clawstead_provisioner.image_profiles import ImageProfile
from clawstead_provisioner.trees import remove_tree
from clawstead_shared.errors import TransientError
from clawstead_shared.events import Reason

ENV_FILE = ".env"
APPLIED_FILE = "applied.json"

_CONFIG, _WORKSPACE, _AUTH = "config", "workspace", "auth"
STATE_DIRECTORIES = (_CONFIG, _AUTH)
"""What a version of the gateway may change at its start."""
_LARGEST_FILE = 4 * 1024 * 1024
_FULL = (errno.ENOSPC, errno.EDQUOT)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class InstanceFiles:
    """The text of an instance's files; empty where there is none."""

    config: str = ""
    env: str = ""
    applied: str = ""


@dataclass(frozen=True, slots=True)
class Opened:
    """An instance's directories, made if they were missing."""

    existed: bool
    files: InstanceFiles


class Storage:
    """All instances' directories. Calls run in threads of their own, under a deadline; each is idempotent."""

    def __init__(
        self, root: Path, *, threads: int = 4, timeout_seconds: float = 60, removal_seconds: float = 600
    ) -> None:
        self._root = root
        self._timeout = timeout_seconds
        self._removal = removal_seconds
        self._threads = DaemonPool(threads, "storage")

    async def open(self, instance_id: str, profile: ImageProfile) -> Opened:
        """Make the directories that are missing, as images of ``profile`` need them, and read the files.

        Raises:
            ProvisioningError: ``disk_full``, or ``storage_unusable`` with what is in the way.
        """
        return await self._run(lambda name: self._open(name, profile), instance_id)

    async def write(
        self,
        instance_id: str,
        files: InstanceFiles,
        profile: ImageProfile,
        *,
        unless_changed: InstanceFiles | None = None,
    ) -> None:
        """Write the files, atomically and durably; call ``open`` first.

        ``unless_changed`` is what ``files`` were made from: nothing is written over what the gateway wrote since.

        Raises:
            TransientError: it did.
            ProvisioningError: ``disk_full``, or ``storage_unusable`` with what is in the way.
        """
        await self._run(lambda name: self._write(name, files, profile, unless_changed), instance_id)

    async def remove(self, instance_id: str) -> None:
        """Remove everything of an instance, whoever owns it.

        Raises:
            ProvisioningError: ``storage_unusable`` with what could not be removed.
        """
        await self._run(self._remove, instance_id, self._removal)

    async def _run(self, work: Callable[[str], T], instance_id: str, seconds: float | None = None) -> T:
        def guarded() -> T:
            with explained():
                return work(instance_id)

        deadline = seconds or self._timeout
        try:
            return await asyncio.wait_for(asyncio.wrap_future(self._threads.submit(guarded)), deadline)
        except TimeoutError as error:
            message = f"the disk of the instances did not answer within {deadline:.0f} s"
            raise ProvisioningError(Reason.STORAGE_UNUSABLE, message) from error

    def _open(self, instance_id: str, profile: ImageProfile) -> Opened:
        directory = self._root / instance_id
        existed = directory.exists()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in (_CONFIG, _WORKSPACE, _AUTH):
            _own_directory(directory / name, profile.uid)
        with opened_directory(directory / _CONFIG) as config, opened_directory(directory) as own:
            if (mounted := profile.mounts.workspace_inside_config) is not None:
                # The engine would make it, but owned by root.
                _make_directory(mounted, profile.uid, dir_fd=config)
            files = _read(config, profile.config.file), _read(config, ENV_FILE), _read(own, APPLIED_FILE)
            return Opened(existed, InstanceFiles(*files))

    def _write(self, instance_id: str, files: InstanceFiles, profile: ImageProfile, base: InstanceFiles | None) -> None:
        directory = self._root / instance_id
        with opened_directory(directory / _CONFIG) as config:
            if base is not None and _read(config, profile.config.file) != base.config:
                raise TransientError("the config was changed in the meantime")
            content = {profile.config.file: files.config.encode(), ENV_FILE: files.env.encode()}
            changed = {name: text for name, text in content.items() if _read(config, name).encode() != text}
            if changed:
                replace_files(config, changed, owner=profile.uid)
        with opened_directory(directory) as own:
            if _read(own, APPLIED_FILE) != files.applied:
                replace_files(own, {APPLIED_FILE: files.applied.encode()})

    def _remove(self, instance_id: str) -> None:
        remove_tree(self._root / instance_id)


def _own_directory(path: Path, uid: int) -> None:
    _make_directory(path, uid)
    with opened_directory(path) as handle:
        found = os.fstat(handle)
        if (found.st_uid, found.st_gid) != (uid, uid):
            os.fchown(handle, uid, uid)
        if stat.S_IMODE(found.st_mode) != 0o700:  # noqa: PLR2004 - a mode
            os.fchmod(handle, 0o700)


def _make_directory(path: Path | str, uid: int, dir_fd: int | None = None) -> None:
    try:
        os.mkdir(path, 0o700, dir_fd=dir_fd)
    except FileExistsError:
        found = os.stat(path, dir_fd=dir_fd, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            raise _in_the_way(Path(path).name, "not a directory") from None
    else:
        os.chown(path, uid, uid, dir_fd=dir_fd, follow_symlinks=False)


@contextlib.contextmanager
def opened_directory(path: Path) -> Iterator[int]:
    """Open a directory that is no link, and close it again."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def _read(directory: int, name: str) -> str:
    try:
        # Non-blocking: a pipe in the file's place must not hold us.
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return ""
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _in_the_way(name, "a link") from None
        raise
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise _in_the_way(name, "not a regular file")
        if found.st_size > _LARGEST_FILE:
            raise _in_the_way(name, "too large")
        try:
            return file.read(_LARGEST_FILE).decode()
        except UnicodeDecodeError:
            raise _in_the_way(name, "not text") from None


def _in_the_way(name: str, what: str) -> ProvisioningError:
    return ProvisioningError(Reason.STORAGE_UNUSABLE, f"{name} in the instance's directory is {what}: remove it")


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn what the file system says into what the instance's owner can use.

    Raises:
        ProvisioningError: ``disk_full`` or ``storage_unusable``.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise ProvisioningError(Reason.DISK_FULL, "the disk of the instances is full") from error
        name = Path(os.fsdecode(error.filename)).name if isinstance(error.filename, (str, bytes)) else "a directory"
        message = f"{name}: {os.strerror(error.errno or errno.EIO)}"
        raise ProvisioningError(Reason.STORAGE_UNUSABLE, f"the instance's directory is unusable: {message}") from error
