"""The state of an instance from before an update, kept until the update is confirmed, put back if it fails.

    <instances>/<id>/snapshot/        ours, root only; it exists for as long as the update is on trial
        trial.json                    what to go back to, what is tried, why that was given up
        config/ auth/ applied.json    as they were; each is moved back into its place, so that needs no room
    <instances>/<id>/snapshot.new/    being made: nothing until it is renamed
    <instances>/<id>/snapshot.old/    no longer needed: being removed

Every call may be cut off anywhere and repeated.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog
from pydantic import ValidationError

from clawstead_provisioner.daemon_pool import DaemonPool
from clawstead_provisioner.errors import ProvisioningError
from clawstead_provisioner.files import replace_files
from clawstead_provisioner.storage import APPLIED_FILE, STATE_DIRECTORIES, explained, opened_directory
from clawstead_provisioner.trees import Bounds, copy_tree, remove_tree, tree_bytes
from clawstead_provisioner.versions import Trial
from clawstead_shared.events import Reason

log = structlog.get_logger()

_SNAPSHOT, _NEW, _OLD = "snapshot", "snapshot.new", "snapshot.old"
_TRIAL_FILE = "trial.json"
_CACHE = frozenset({"cache"})
"""Left out: OpenClaw makes it anew, and it is most of the volume (openclaw.md, section 5)."""
_LONGEST_SECONDS = 60.0
"""The gateway is down for as long as it is copied."""
_DEADLINE_SECONDS = 2 * _LONGEST_SECONDS
"""For a disk that hangs, which nothing else ends."""
_SPARE_BYTES = 16 * 1024 * 1024

T = TypeVar("T")


class Snapshots:
    """All instances' snapshots. Calls run in threads of their own, so that a large one delays no start."""

    def __init__(self, root: Path, *, threads: int = 2) -> None:
        self._root = root
        self._threads = DaemonPool(threads, "snapshots")

    async def read(self, instance_id: str) -> Trial | None:
        """Return the trial that an instance is on, None if it is on none.

        Raises:
            ProvisioningError: ``storage_unusable``.
        """
        return await self._run(self._read, instance_id)

    async def check_room(self, instance_id: str) -> None:
        """Check that a snapshot is likely to fit.

        Raises:
            ProvisioningError: ``disk_full``, or ``storage_unusable`` when it could never be made.
        """
        await self._run(self._check_room, instance_id)

    async def take(self, instance_id: str, trial: Trial) -> None:
        """Keep the present state of an instance that does not run; an older snapshot is replaced.

        Raises:
            ProvisioningError: ``disk_full`` or ``storage_unusable``; then there is no new snapshot.
        """
        await self._run(lambda directory: self._take(directory, trial), instance_id)

    async def note(self, instance_id: str, trial: Trial) -> None:
        """Write down how the trial stands; the state that is kept stays as it is.

        Raises:
            ProvisioningError: ``disk_full`` or ``storage_unusable``.
        """
        await self._run(lambda directory: _note(directory / _SNAPSHOT, trial), instance_id)

    async def restore(self, instance_id: str) -> None:
        """Put the kept state in the place of the present one, of an instance that does not run.

        Raises:
            ProvisioningError: ``storage_unusable``; again goes on where it ended.
        """
        await self._run(self._restore, instance_id)

    async def drop(self, instance_id: str) -> None:
        """Remove the snapshot: the trial is over.

        Raises:
            ProvisioningError: ``storage_unusable``.
        """
        await self._run(self._drop, instance_id)

    async def _run(self, work: Callable[[Path], T], instance_id: str) -> T:
        def guarded() -> T:
            with explained():
                return work(self._root / instance_id)

        running = asyncio.wrap_future(self._threads.submit(guarded))
        try:
            return await asyncio.wait_for(running, _DEADLINE_SECONDS)
        except TimeoutError as error:
            message = f"the disk of the instances did not answer within {_DEADLINE_SECONDS:.0f} s"
            raise ProvisioningError(Reason.STORAGE_UNUSABLE, message) from error

    @staticmethod
    def _read(directory: Path) -> Trial | None:
        snapshot = directory / _SNAPSHOT
        try:
            trial = Trial.model_validate_json((snapshot / _TRIAL_FILE).read_bytes(), extra="ignore")
        except FileNotFoundError:
            return None
        except ValidationError:
            log.exception("unreadable record of an update, taken for none", instance_id=directory.name)
            return None
        left = any(os.path.lexists(snapshot / name) for name in (*STATE_DIRECTORIES, APPLIED_FILE))
        return trial.model_copy(update={"restored": trial.failure is not None and not left})

    @staticmethod
    def _check_room(directory: Path) -> None:
        needed, bounds = _SPARE_BYTES, _bounds()
        for name in STATE_DIRECTORIES:
            with contextlib.suppress(FileNotFoundError), opened_directory(directory / name) as state:
                needed += tree_bytes(state, bounds)
        system = os.statvfs(directory)
        if system.f_bavail * system.f_frsize < needed:
            raise ProvisioningError(
                Reason.DISK_FULL, "the disk of the instances has no room to keep the state from before the update"
            )

    def _take(self, directory: Path, trial: Trial) -> None:
        new = directory / _NEW
        remove_tree(new)
        new.mkdir(mode=0o700)
        try:
            bounds = _bounds()
            for name in STATE_DIRECTORIES:
                (new / name).mkdir(mode=0o700)
                with opened_directory(directory / name) as state, opened_directory(new / name) as copy:
                    copy_tree(state, copy, bounds)
            with contextlib.suppress(FileNotFoundError):
                applied = (directory / APPLIED_FILE).read_bytes()
                with opened_directory(new) as handle:
                    replace_files(handle, {APPLIED_FILE: applied})
            _note(new, trial)
            self._drop(directory)
            new.rename(directory / _SNAPSHOT)
        except BaseException:
            remove_tree(new)
            raise
        _sync(directory)

    @staticmethod
    def _restore(directory: Path) -> None:
        snapshot, old = directory / _SNAPSHOT, directory / _OLD
        for name in (*STATE_DIRECTORIES, APPLIED_FILE):
            # In the snapshot is what was not put back yet; whatever has its place in the meantime is worth nothing.
            if not os.path.lexists(snapshot / name):
                continue
            remove_tree(old)
            old.mkdir(mode=0o700)
            with contextlib.suppress(FileNotFoundError):
                (directory / name).rename(old / name)
            (snapshot / name).rename(directory / name)
            _sync(snapshot)
            _sync(directory)
        remove_tree(old)

    @staticmethod
    def _drop(directory: Path) -> None:
        remove_tree(directory / _OLD)
        # Renamed first: a half removed one must not be taken for a whole one.
        with contextlib.suppress(FileNotFoundError):
            (directory / _SNAPSHOT).rename(directory / _OLD)
            _sync(directory)
        remove_tree(directory / _OLD)


def _bounds() -> Bounds:
    return Bounds(time.monotonic() + _LONGEST_SECONDS, skipped=_CACHE)


def _note(directory: Path, trial: Trial) -> None:
    with opened_directory(directory) as handle:
        replace_files(handle, {_TRIAL_FILE: trial.model_dump_json(exclude={"restored"}).encode()})


def _sync(path: Path) -> None:
    with opened_directory(path) as handle:
        os.fsync(handle)
