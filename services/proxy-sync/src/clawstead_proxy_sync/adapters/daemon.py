"""The nginx daemon: started or found, reloaded until the reload is proved, watched, ended."""

import asyncio
import time
from signal import SIGHUP, SIGUSR1
from typing import Protocol

import structlog
from prometheus_client import Counter, Histogram

from clawstead_proxy_sync.adapters.layout import Layout
from clawstead_proxy_sync.adapters.nginx_command import NginxCommand, decisive_line
from clawstead_proxy_sync.adapters.nginx_process import Master, accepting, end, find_master, quit_strays
from clawstead_proxy_sync.adapters.status import Serving, serving
from clawstead_proxy_sync.errors import EdgeUnavailableError

log = structlog.get_logger()

RELOADS = Counter("clawstead_edge_reloads_total", "Reloads of nginx", ["outcome"])
RELOAD_SECONDS = Histogram("clawstead_edge_reload_seconds", "From the signal until every worker serves the new table")

_WATCH_SECONDS = 0.2
_OVERLAP_SECONDS = 0.1
_PROOF_SECONDS = 10.0
_PROOF_STEP_SECONDS = 0.005
_ROTATE_EVERY_SECONDS = 60.0
_ROTATE_BYTES = 32 * 1024 * 1024
_LOG_TAIL_BYTES = 4096


class Daemon(Protocol):
    """The running nginx: one that is ours, or the machine's."""

    @property
    def pid(self) -> int | None:
        """Process id of the master, None when none is known."""
        ...

    @property
    def draining(self) -> int:
        """How many workers of earlier tables still hold connections."""
        ...

    def find(self) -> bool:
        """Look for a running nginx."""
        ...

    async def start(self, wanted: Serving) -> None:
        """Have it run and wait until it serves what is ``wanted``.

        Raises:
            EdgeUnavailableError: it cannot start, or does not serve that.
        """
        ...

    async def reload(self, wanted: Serving) -> None:
        """Have it read its files again, and wait until it serves what is ``wanted`` and nothing else.

        Raises:
            EdgeUnavailableError: it did not take them over in time, or does not run.
        """
        ...

    async def watch(self) -> None:
        """Return when it has ended."""
        ...

    async def serving(self) -> Serving:
        """Return what it says it serves.

        Raises:
            EdgeUnavailableError: it does not answer.
        """
        ...

    async def end(self) -> None:
        """End it. Not running is success."""
        ...


class NginxDaemon:
    """At most one running nginx in one folder, ours alone. Keeps ``Daemon``."""

    def __init__(self, layout: Layout, command: NginxCommand) -> None:
        self._layout = layout
        self._command = command
        self._master: Master | None = None
        self._workers: set[int] = set()

    @property
    def pid(self) -> int | None:
        """Process id of the master, None when none is known."""
        return self._master.pid if self._master else None

    @property
    def draining(self) -> int:
        """How many workers of earlier tables still hold connections."""
        return len(self._master.draining()) if self._master else 0

    def find(self) -> bool:
        """Look for a running nginx of this folder, whoever started it."""
        self._master = find_master(self._layout.pid_file, self._layout.directory)
        return self._master is not None

    async def start(self, wanted: Serving) -> None:
        """Start nginx and wait until it serves what is ``wanted``.

        Workers that outlived an earlier master give up the ports first, and finish what they have.

        Raises:
            EdgeUnavailableError: it cannot start, or does not serve that.
        """
        if strays := await quit_strays(self._layout.directory, self._workers):
            log.warning("workers had outlived their nginx", workers=strays)
        for leftover in (self._layout.socket, self._layout.pid_file):
            leftover.unlink(missing_ok=True)
        await self._command.start(self._layout.config)
        deadline = time.monotonic() + _PROOF_SECONDS
        while not self.find():
            if time.monotonic() > deadline:
                raise EdgeUnavailableError("nginx has started but cannot be found")
            await asyncio.sleep(_PROOF_STEP_SECONDS)
        await self._prove(wanted, replaced=set())

    async def reload(self, wanted: Serving) -> None:
        """Have nginx read its files again, and wait until it serves what is ``wanted`` and nothing else.

        Raises:
            EdgeUnavailableError: it did not take them over in time, or does not run.
        """
        master = self._running()
        before = master.accepting(self._workers)
        begun = time.perf_counter()
        master.send(SIGHUP)
        try:
            # Old workers accept for another tenth of a second: until then one answer with the new table proves
            # nothing, and asking would only take time from whatever the new route is waiting for.
            await asyncio.sleep(_OVERLAP_SECONDS)
            await self._prove(wanted, replaced=before)
        except EdgeUnavailableError:
            RELOADS.labels("failed").inc()
            raise
        RELOADS.labels("served").inc()
        RELOAD_SECONDS.observe(time.perf_counter() - begun)

    async def watch(self) -> None:
        """Return when nginx has ended. Meanwhile its logs are rotated and its workers remembered."""
        rotate_at = time.monotonic() + _ROTATE_EVERY_SECONDS
        while self._master and self._master.alive():
            self._workers = self._master.accepting(self._workers)
            if time.monotonic() > rotate_at:
                await asyncio.to_thread(self.rotate_logs)
                rotate_at = time.monotonic() + _ROTATE_EVERY_SECONDS
            await asyncio.sleep(_WATCH_SECONDS)
        self._master = None

    def rotate_logs(self, *, above_bytes: int = _ROTATE_BYTES) -> None:
        """Set logs aside that have grown too large; one earlier file of each is kept."""
        grown = [path for path in self._layout.logs if path.exists() and path.stat().st_size > above_bytes]
        for path in grown:
            path.replace(path.with_suffix(".log.1"))
        if grown and self._master:
            self._master.send(SIGUSR1)

    async def serving(self) -> Serving:
        """Return what nginx says it serves.

        Raises:
            EdgeUnavailableError: it does not answer.
        """
        return await serving(self._layout.socket)

    async def end(self) -> None:
        """End nginx, letting requests finish for a moment. Not running is success."""
        if self.find() and self._master:
            await end(self._master)

    def _running(self) -> Master:
        if not self._master or not self._master.alive():
            raise EdgeUnavailableError("nginx does not run")
        return self._master

    async def _prove(self, wanted: Serving, *, replaced: set[int]) -> None:
        master = self._running()
        deadline = time.monotonic() + _PROOF_SECONDS
        while accepting(replaced) or not await self._serves(wanted):
            self._running()
            if time.monotonic() > deadline:
                raise EdgeUnavailableError(f"nginx does not serve generation {wanted.generation}: {self._complaint()}")
            await asyncio.sleep(_PROOF_STEP_SECONDS)
        self._workers = master.accepting()

    async def _serves(self, wanted: Serving) -> bool:
        try:
            return await self.serving() == wanted
        except EdgeUnavailableError:
            return False

    def _complaint(self) -> str:
        with self._layout.error_log.open("rb") as file:
            file.seek(max(0, self._layout.error_log.stat().st_size - _LOG_TAIL_BYTES))
            return decisive_line(file.read().decode(errors="replace"))
