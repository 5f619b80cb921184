"""One start or stop of an installation at a time. The kernel drops the lock with its process, even on kill -9."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from clawstead_cli.deadline import Deadline
from clawstead_cli.errors import CommandError

_POLL_SECONDS = 0.1


@contextlib.contextmanager
def run_lock(run_dir: Path, deadline: Deadline) -> Iterator[None]:
    """Hold the installation's lock, waiting for whoever has it until ``deadline``.

    Raises:
        CommandError: another command still held it.
    """
    descriptor = os.open(run_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as held:
                if deadline.passed:
                    holder = os.pread(descriptor, 20, 0).decode(errors="replace") or "unknown"
                    raise CommandError(
                        f"another clawstead command (pid {holder}) is starting or stopping this installation",
                        hint="wait for it, then try again",
                    ) from held
                time.sleep(_POLL_SECONDS)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(descriptor)
