"""Which processes are our nginx: told by their titles and working directory, never by name alone.

nginx renames its processes (``nginx: master process``, ``nginx: worker process``, ``… is shutting down``), so
``/proc`` says which workers still accept connections. All of them run with our folder as working directory.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from signal import SIGKILL, SIGQUIT, SIGTERM, Signals

_PROC = Path("/proc")
_MASTER = b"nginx: master process"
_WORKER = b"nginx: worker process"
_DRAINING = b"nginx: worker process is shutting down"

_STEP_SECONDS = 0.01
_QUIT_SECONDS = 1.5
_TERM_SECONDS = 2.0
_RELEASE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Master:
    """The master process of the nginx whose folder is ``directory``; None if it may be any."""

    pid: int
    directory: Path | None

    def alive(self) -> bool:
        """Say whether it still runs, and the number was not given to another process."""
        in_place = self.directory is None or _works_in(self.pid, self.directory)
        return in_place and _title(self.pid).startswith(_MASTER)

    def accepting(self, known: Iterable[int] = ()) -> set[int]:
        """Return the workers that take new connections.

        While children exit the kernel may leave others out of its list, so those already ``known`` are looked
        at by themselves.
        """
        return accepting(self._children() | self._children() | set(known))

    def draining(self) -> set[int]:
        """Return the workers of earlier tables that only finish what they have."""
        return {pid for pid in self._children() if _title(pid).startswith(_DRAINING)}

    def end_draining(self, *, beyond: int) -> int:
        """End those of them that began first, if there are more than ``beyond``; return how many."""
        oldest_last = sorted(self.draining(), key=_began, reverse=True)
        for pid in oldest_last[beyond:]:
            _send(pid, SIGTERM)
        return len(oldest_last[beyond:])

    def send(self, number: Signals) -> None:
        """Send a signal; a process that is gone is success."""
        if self.alive():
            _send(self.pid, number)

    def _children(self) -> set[int]:
        try:
            return set(map(int, (_PROC / str(self.pid) / "task" / str(self.pid) / "children").read_text().split()))
        except FileNotFoundError:
            # Gone, or a kernel without this file.
            return {pid for pid in _pids() if _parent(pid) == self.pid}


def accepting(pids: Iterable[int]) -> set[int]:
    """Return those of ``pids`` that are workers and take new connections."""
    return {pid for pid in pids if _accepts(_title(pid))}


def find_master(pid_file: Path, directory: Path) -> Master | None:
    """Return the running master of ``directory``: the one that ``pid_file`` names, or else any."""
    with contextlib.suppress(OSError, ValueError):
        named = Master(int(pid_file.read_text()), directory)
        if named.alive():
            return named
    others = (Master(pid, directory) for pid in _pids())
    return next((master for master in others if master.alive()), None)


def machine_master(pid_file: Path) -> Master | None:
    """Return the running master that ``pid_file`` names, wherever it works."""
    try:
        named = Master(int(pid_file.read_text()), None)
    except (OSError, ValueError):
        return None
    return named if named.alive() else None


async def quit_strays(directory: Path, remembered: set[int]) -> int:
    """Tell what is left of an earlier nginx to finish, and wait until it gave up the ports; return how many.

    That is workers that outlived their master, and a master whose folder was deleted under it. Connections
    stay open. Where another user's working directory may not be read (a container without ptrace), only
    ``remembered`` workers are found.
    """
    pids = _pids()
    workers = {pid for pid in pids if (pid in remembered or _works_in(pid, directory)) and _is_stray(pid)}
    lost = [Master(pid, directory) for pid in pids if _is_lost(pid, directory)]
    released = workers | {pid for master in lost for pid in master.accepting()}
    for pid in workers | {master.pid for master in lost}:
        _send(pid, SIGQUIT)
    await _until(lambda: not accepting(released), _RELEASE_SECONDS)
    return len(workers) + len(lost)


async def end(master: Master) -> None:
    """End nginx: let requests finish, then not; a process that is gone is success."""
    family = {master.pid, *master.accepting(), *master.draining()}
    for number, seconds in ((SIGQUIT, _QUIT_SECONDS), (SIGTERM, _TERM_SECONDS)):
        master.send(number)
        if await _until(lambda: not master.alive(), seconds):
            return
    for pid in family:
        if _title(pid).startswith(b"nginx: "):
            _send(pid, SIGKILL)


async def _until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_STEP_SECONDS)
    return True


def _is_stray(pid: int) -> bool:
    return _accepts(_title(pid)) and not _title(_parent(pid)).startswith(_MASTER)


def _accepts(title: bytes) -> bool:
    return title.startswith(_WORKER) and not title.startswith(_DRAINING)


def _send(pid: int, number: Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _title(pid: int) -> bytes:
    try:
        return (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return b""


def _works_in(pid: int, directory: Path) -> bool:
    return _working_directory(pid) == str(directory)


def _is_lost(pid: int, directory: Path) -> bool:
    return _title(pid).startswith(_MASTER) and _working_directory(pid) == f"{directory} (deleted)"


def _working_directory(pid: int) -> str:
    try:
        return str((_PROC / str(pid) / "cwd").readlink())
    except OSError:
        return ""


def _parent(pid: int) -> int:
    return _number(pid, 1)


def _began(pid: int) -> int:
    return _number(pid, 19)


def _number(pid: int, place: int) -> int:
    """Return what ``/proc/PID/stat`` has at a place after the name, which may hold spaces and brackets (proc(5))."""
    try:
        return int((_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[place])
    except (OSError, IndexError, ValueError):
        return 0


def _pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()]
