"""What is remembered of orders, in a small file."""

from pathlib import Path

import structlog
from pydantic import ValidationError

from clawstead_proxy_sync.adapters.files import make_directory, write_atomically
from clawstead_proxy_sync.certificates.schedule import Memory

log = structlog.get_logger()


class MemoryFile:
    """Keeps ``Recollection``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Memory:
        """See ``Recollection.load``."""
        try:
            return Memory.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return Memory()
        except (OSError, ValidationError) as error:
            log.warning("what was remembered of certificates is lost", path=str(self._path), error=str(error))
            return Memory()

    def store(self, memory: Memory) -> None:
        """See ``Recollection.store``."""
        try:
            if not self._path.parent.is_dir():
                make_directory(self._path.parent, mode=0o700)
            write_atomically(self._path, memory.model_dump_json().encode())
        except OSError as error:
            log.error("the next start will not know of this", path=str(self._path), error=str(error))  # noqa: TRY400
