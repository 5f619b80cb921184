"""One provisioner drives one engine: a file lock decides which, the others stand by."""

import asyncio
import fcntl
from pathlib import Path
from typing import IO

import structlog

from clawstead_shared.admin import Readiness

log = structlog.get_logger()

_CONDITION = "lock"
_PAUSE_SECONDS = 0.5


async def acquire_engine(path: Path, readiness: Readiness) -> IO[bytes]:
    """Wait until this process holds the lock, and return it; it is held until the process ends."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = path.open("ab")
    standing_by = False
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not standing_by:
                log.info("standing by: another provisioner drives this engine")
                standing_by = True
            readiness.unmet(_CONDITION, "standby: another provisioner drives this engine")
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            readiness.met(_CONDITION)
            return lock
