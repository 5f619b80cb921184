"""Who listens on a port of this machine, as far as we may see."""

from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_LISTENING = "0A"


def holder(port: int) -> str | None:
    """Return the program that listens on a TCP port with its process id; None when that cannot be seen."""
    wanted = {f"socket:[{inode}]" for inode in _listening_on(port)}
    for process in _PROC.iterdir():
        if process.name.isdecimal() and _has_one(process, wanted):
            return f"{_name(process)} (pid {process.name})"
    return None


def _listening_on(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        try:
            lines = (_PROC / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


def _has_one(process: Path, sockets: set[str]) -> bool:
    try:
        return any(str(descriptor.readlink()) in sockets for descriptor in (process / "fd").iterdir())
    except OSError:
        return False


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "a process"
