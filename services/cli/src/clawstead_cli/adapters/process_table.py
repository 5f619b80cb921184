"""The machine's processes: which of them are ours, and who holds a port."""

import contextlib
import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from clawstead_cli.deadline import Deadline
from clawstead_cli.programs import MARK, Listener
from clawstead_cli.settings import Settings


@dataclass(frozen=True, slots=True)
class Conflict:
    """A port that is taken, and by whom if that can be seen."""

    listener: Listener
    holder: str


def leftovers(settings: Settings) -> list[psutil.Process]:
    """Return the living processes that this installation started, found by the mark in their environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == str(settings.data_dir) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def ask_to_end(processes: Iterable[psutil.Process]) -> None:
    """Send SIGTERM; a process that is gone is success."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()


def end(processes: Iterable[psutil.Process], grace_seconds: float) -> list[psutil.Process]:
    """Ask processes to end, kill those that do not; return those that are there even then."""
    asked = list(processes)
    ask_to_end(asked)
    _, stubborn = psutil.wait_procs(asked, timeout=grace_seconds)
    for process in stubborn:
        with contextlib.suppress(psutil.Error):
            process.kill()
    _, left = psutil.wait_procs(stubborn, timeout=5)
    return left


def wait_gone(pids: Iterable[int], deadline: Deadline) -> list[psutil.Process]:
    """Wait until the processes have ended; return those that have not."""
    processes = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            processes.append(psutil.Process(pid))
    _, left = psutil.wait_procs(processes, timeout=deadline.remaining)
    return [process for process in left if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


def conflicts(wanted: Iterable[Listener]) -> list[Conflict]:
    """Return the ports among ``wanted`` that cannot be listened on now."""
    return [Conflict(listener, holder(listener.port)) for listener in wanted if not _free(listener)]


def _free(listener: Listener) -> bool:
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listener.host, listener.port))
            probe.listen()
        except OSError as error:
            # Other errors (no such address, no permission) are the program's to report, in its own words.
            return error.errno != errno.EADDRINUSE
    return True


def holder(port: int) -> str:
    """Return the program that listens on a port with its process id, as far as that can be seen."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            address = connection.laddr
            if connection.status == psutil.CONN_LISTEN and connection.pid and address and address.port == port:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return "another process"
