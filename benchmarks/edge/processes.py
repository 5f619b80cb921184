"""Processes that a benchmark starts, ended with all their children whatever happens, and what they cost."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from benchmarks.edge.peers_install import Program

_START_SECONDS = 60.0
_END_SECONDS = 10.0


class Running:
    """One program in a session of its own, so that ending it ends what it has started."""

    def __init__(self, program: Program, arguments: tuple[str, ...], folder: Path) -> None:
        self.log = folder / f"{Path(program.command[-1]).name}.log"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*program.command, *arguments],
                cwd=folder,
                env={**os.environ, **program.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @classmethod
    async def start(cls, program: Program, *arguments: str, folder: Path, port: int) -> "Running":
        """Start it, and wait until it listens on ``port``."""
        running = cls(program, arguments, folder)
        try:
            await running.listening(port)
        except BaseException:
            running.end()
            raise
        return running

    @property
    def pid(self) -> int:
        """Process id of the first process."""
        return self._process.pid

    async def listening(self, port: int) -> None:
        """Wait until something accepts connections on ``port``."""
        deadline = time.monotonic() + _START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            await asyncio.sleep(0.02)
        raise RuntimeError(f"does not serve: {self.log.read_text(errors='replace')[-2000:]}")

    def tree(self) -> list[psutil.Process]:
        """Return the process and its descendants."""
        return tree(self.pid)

    def end(self) -> None:
        """End all of it."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(_END_SECONDS)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue
        self._process.wait(_END_SECONDS)


def tree(pid: int) -> list[psutil.Process]:
    """Return a process and its descendants; none when it has ended."""
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """Return the seconds of CPU, user and system, that the processes have taken."""
    total = 0.0
    for process in processes:
        times = process.cpu_times()
        total += times.user + times.system
    return total


def pss_mib(processes: Iterable[psutil.Process]) -> float:
    """Return the memory of the processes, with what several share counted in parts."""
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return total / 2**20
