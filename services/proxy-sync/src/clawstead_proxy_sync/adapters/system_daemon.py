"""The nginx of the machine: never started or ended by us, reloaded through one narrow rule of sudo.

We may see its processes and their titles, but not signal them, nor read their folders or logs.
"""

import asyncio
import contextlib
import time

import structlog

from clawstead_proxy_sync.adapters.nginx_process import Master, machine_master
from clawstead_proxy_sync.adapters.proved_daemon import ProvedDaemon
from clawstead_proxy_sync.adapters.status import Serving
from clawstead_proxy_sync.adapters.system_command import PID_FILE, SystemCommand
from clawstead_proxy_sync.errors import EdgeUnavailableError

log = structlog.get_logger()

_LOOK_SECONDS = 2.0
_CONNECT_SECONDS = 1.0


class SystemDaemon(ProvedDaemon):
    """The nginx that ``/run/nginx.pid`` names. Keeps ``Daemon``."""

    crowded = False

    def __init__(self, status: tuple[str, int], command: SystemCommand, *, install: str) -> None:
        super().__init__(status)
        self._host, self._port = status
        self._command = command
        self._install = install
        self._doubt: str | None = None
        self._revision: str | None = None
        self._look_at = 0.0

    @property
    def doubt(self) -> str | None:
        """See ``Daemon.doubt``."""
        return self._doubt

    def deaf(self) -> bool:
        """See ``Daemon.deaf``: a port goes with its process only."""
        return False

    def find(self) -> bool:
        """Look for the nginx of the machine."""
        self._master, self._doubt, self._revision = machine_master(PID_FILE), None, None
        return self._master is not None

    async def start(self, wanted: Serving) -> None:
        """Have it read what is ``wanted`` if it runs; it is not ours to start.

        Raises:
            EdgeUnavailableError: it does not run or does not serve our site, and what to type then.
        """
        if not self.find():
            raise EdgeUnavailableError(
                "the machine's nginx does not run, and is not ours to start: type `sudo systemctl start nginx`"
                f" (no running process in {PID_FILE})"
            )
        if not await self._has_site():
            raise EdgeUnavailableError(f"the machine's nginx does not serve Clawstead's site: type `{self._install}`")
        await self.reload(wanted)

    async def serving(self) -> Serving:
        """See ``Daemon.serving``."""
        found = await super().serving()
        self._revision = self._revision or found.revision
        return found

    async def end(self) -> None:
        """See ``Daemon.end``: it serves others, too."""

    async def _order_reload(self, master: Master) -> None:
        await self._command.reload()

    async def _serves(self, wanted: Serving) -> bool:
        with contextlib.suppress(EdgeUnavailableError):
            found = await self.serving()
            # The site file is written by root alone. While it is an earlier one, routes still have to go on.
            self._judge(found, wanted)
            return found.generation == wanted.generation
        return False

    def _judge(self, found: Serving, wanted: Serving) -> None:
        if found.revision == wanted.revision:
            self._doubt = None
            return
        doubt = (
            "routes go on, but the site file that nginx has loaded is not the one these settings ask for"
            f" ({found.revision}, not {wanted.revision}): type `{self._install}`"
        )
        if doubt != self._doubt:
            log.warning("the installed site file is stale", served=found.revision, wanted=wanted.revision)
        self._doubt = doubt

    async def _look_after(self) -> str | None:
        if time.monotonic() < self._look_at:
            return None
        self._look_at = time.monotonic() + _LOOK_SECONDS
        if machine_master(PID_FILE) != self._master:
            return "the machine's nginx is another one now"
        if self._revision is None:
            return None
        with contextlib.suppress(EdgeUnavailableError):
            another = (await self.serving()).revision != self._revision
            return "the machine's nginx has loaded another site file" if another else None
        # While it reloads a worker may end with our question: only a port that nobody listens on is a lost site.
        return None if await self._has_site() else "the machine's nginx no longer serves Clawstead's site"

    async def _has_site(self) -> bool:
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                _, writer = await asyncio.open_connection(self._host, self._port)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    def _complaint(self) -> str:
        return "see /var/log/nginx/error.log"
