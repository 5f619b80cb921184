"""An nginx of our own: started or found, watched, ended; its logs are rotated here, too."""

import asyncio
import time
from signal import SIGHUP, SIGUSR1

import structlog

from clawstead_proxy_sync.adapters.layout import Layout
from clawstead_proxy_sync.adapters.nginx_command import NginxCommand, decisive_line
from clawstead_proxy_sync.adapters.nginx_process import Master, end, find_master, quit_strays
from clawstead_proxy_sync.adapters.proved_daemon import ProvedDaemon
from clawstead_proxy_sync.adapters.status import Serving
from clawstead_proxy_sync.errors import EdgeUnavailableError

log = structlog.get_logger()

_FOUND_SECONDS = 10.0
_FOUND_STEP_SECONDS = 0.005
_ROTATE_EVERY_SECONDS = 60.0
_ROTATE_BYTES = 32 * 1024 * 1024
_LOG_TAIL_BYTES = 4096


class NginxDaemon(ProvedDaemon):
    """At most one running nginx in one folder, ours alone. Keeps ``Daemon``."""

    doubt = None

    def __init__(self, layout: Layout, command: NginxCommand, most_draining: int) -> None:
        super().__init__(layout.socket)
        self._most_draining = most_draining
        self._layout = layout
        self._command = command
        self._rotate_at = time.monotonic() + _ROTATE_EVERY_SECONDS

    @property
    def crowded(self) -> bool:
        """See ``Daemon.crowded``."""
        return self.draining + len(self._workers) > self._most_draining

    def deaf(self) -> bool:
        """See ``Daemon.deaf``."""
        return not self._layout.socket.exists()

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
        for leftover in (self._layout.socket, self._layout.control_socket, self._layout.pid_file):
            leftover.unlink(missing_ok=True)
        await self._command.start(self._layout.config)
        deadline = time.monotonic() + _FOUND_SECONDS
        while not self.find():
            if time.monotonic() > deadline:
                raise EdgeUnavailableError("nginx has started but cannot be found")
            await asyncio.sleep(_FOUND_STEP_SECONDS)
        await self._prove(wanted, replaced=set())

    def rotate_logs(self, *, above_bytes: int = _ROTATE_BYTES) -> None:
        """Set logs aside that have grown too large; one earlier file of each is kept."""
        grown = [path for path in self._layout.logs if path.exists() and path.stat().st_size > above_bytes]
        for path in grown:
            path.replace(path.with_suffix(".log.1"))
        if grown and self._master:
            self._master.send(SIGUSR1)

    async def end(self) -> None:
        """End nginx, letting requests finish for a moment. Not running is success."""
        if self.find() and self._master:
            await end(self._master)

    async def _order_reload(self, master: Master) -> None:
        master.send(SIGHUP)

    async def _look_after(self) -> str | None:
        if self._master and (ended := self._master.end_draining(beyond=self._most_draining)):
            log.warning("replaced workers were ended, for there were too many", workers=ended)
        if time.monotonic() > self._rotate_at:
            self._rotate_at = time.monotonic() + _ROTATE_EVERY_SECONDS
            try:
                await asyncio.to_thread(self.rotate_logs)
            except OSError as error:
                log.warning("the logs of nginx cannot be set aside", error=str(error))
        return None

    def _complaint(self) -> str:
        with self._layout.error_log.open("rb") as file:
            file.seek(max(0, self._layout.error_log.stat().st_size - _LOG_TAIL_BYTES))
            return decisive_line(file.read().decode(errors="replace"))
