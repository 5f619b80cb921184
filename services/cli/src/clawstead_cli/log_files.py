"""Reading the processes' log files: their last lines, and what is added, across rotations."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

_BLOCK_BYTES = 65536


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last ``count`` lines of a file, fewer if it has fewer; none if there is no file."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        text = b""
        while position > 0 and text.count(b"\n") <= count:
            size = min(_BLOCK_BYTES, position)
            position = file.seek(position - size)
            text = file.read(size) + text
        return text.decode(errors="replace").splitlines()[-count:] if count > 0 else []
    return []


class Follower:
    """Yields the whole lines that are added to one file, from where it ends now; a rotation is followed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._partial = b""
        self._file: BinaryIO | None = self._opened()
        if self._file:
            self._file.seek(0, os.SEEK_END)

    def lines(self) -> Iterator[str]:
        """Yield what was added since the last call."""
        yield from self._added()
        if self._rotated():
            yield from self._added()  # what came between the read and the rotation
            self.close()
            self._file = self._opened()
            yield from self._added()

    def close(self) -> None:
        """Close the file."""
        if self._file:
            self._file.close()
            self._file = None

    def _opened(self) -> BinaryIO | None:
        with contextlib.suppress(FileNotFoundError):
            return self._path.open("rb")
        return None

    def _added(self) -> Iterator[str]:
        while self._file and (block := self._file.read(_BLOCK_BYTES)):
            *whole, self._partial = (self._partial + block).split(b"\n")
            for line in whole:
                yield line.decode(errors="replace")

    def _rotated(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            now = self._path.stat()
            if self._file is None:
                return True
            held = os.fstat(self._file.fileno())
            return (now.st_dev, now.st_ino) != (held.st_dev, held.st_ino) or now.st_size < self._file.tell()
        return False


class FollowedLogs:
    """The log files of several processes, followed together."""

    def __init__(self, log_dir: Path, names: list[str]) -> None:
        self._followers: Mapping[str, Follower] = {name: Follower(log_dir / f"{name}.log") for name in names}

    def lines(self) -> Iterator[tuple[str, str]]:
        """Yield each line added since the last call, with its process."""
        for name, follower in self._followers.items():
            for line in follower.lines():
                yield name, line

    def close(self) -> None:
        """Close every file."""
        for follower in self._followers.values():
            follower.close()
