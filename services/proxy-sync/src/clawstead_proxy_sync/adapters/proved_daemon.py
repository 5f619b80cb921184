"""A running nginx, whoever started it: reloaded until the reload is proved, and watched."""

import asyncio
import time
from abc import ABC, abstractmethod
from typing import Protocol

from prometheus_client import Counter, Histogram

from clawstead_proxy_sync.adapters.nginx_process import Master, accepting
from clawstead_proxy_sync.adapters.status import Serving, StatusAddress, serving
from clawstead_proxy_sync.errors import EdgeUnavailableError

RELOADS = Counter("clawstead_edge_reloads_total", "Reloads of nginx", ["outcome"])
RELOAD_SECONDS = Histogram("clawstead_edge_reload_seconds", "From the signal until every worker serves the new table")

_WATCH_SECONDS = 0.2
_OVERLAP_SECONDS = 0.1
_PROOF_SECONDS = 10.0
_PROOF_STEP_SECONDS = 0.005


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

    @property
    def crowded(self) -> bool:
        """Whether they are so many that another reload would end the oldest of them."""
        ...

    @property
    def doubt(self) -> str | None:
        """What is wrong although it serves, and what to do about it; None when nothing is."""
        ...

    def deaf(self) -> bool:
        """Say whether it has lost the socket on which it is asked what it serves."""
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

    async def watch(self) -> str:
        """Return when it has ended, or is no longer what was found, and say so in words."""
        ...

    async def serving(self) -> Serving:
        """Return what it says it serves.

        Raises:
            EdgeUnavailableError: it does not answer.
        """
        ...

    async def end(self) -> None:
        """End it, if that is ours to do. Not running is success."""
        ...


class ProvedDaemon(ABC):
    """What both kinds of ``Daemon`` share: nothing is believed that was not seen."""

    def __init__(self, status: StatusAddress) -> None:
        self._status = status
        self._master: Master | None = None
        self._workers: set[int] = set()

    @property
    def pid(self) -> int | None:
        """See ``Daemon.pid``."""
        return self._master.pid if self._master else None

    @property
    def draining(self) -> int:
        """See ``Daemon.draining``."""
        return len(self._master.draining()) if self._master else 0

    async def reload(self, wanted: Serving) -> None:
        """See ``Daemon.reload``."""
        master = self._running()
        before = master.accepting(self._workers)
        begun = time.perf_counter()
        try:
            await self._order_reload(master)
            # Old workers accept for another tenth of a second: until then one answer with the new table proves
            # nothing, and asking would only take time from whatever the new route is waiting for.
            await asyncio.sleep(_OVERLAP_SECONDS)
            await self._prove(wanted, replaced=before)
        except EdgeUnavailableError:
            RELOADS.labels("failed").inc()
            raise
        RELOADS.labels("served").inc()
        RELOAD_SECONDS.observe(time.perf_counter() - begun)

    async def watch(self) -> str:
        """See ``Daemon.watch``."""
        while self._master and self._master.alive():
            self._workers = self._master.accepting(self._workers)
            if changed := await self._look_after():
                return changed
            await asyncio.sleep(_WATCH_SECONDS)
        self._master = None
        return "nginx has ended"

    async def serving(self) -> Serving:
        """See ``Daemon.serving``."""
        return await serving(self._status)

    @abstractmethod
    async def _order_reload(self, master: Master) -> None:
        """Have nginx begin to read its files again."""

    @abstractmethod
    async def _look_after(self) -> str | None:
        """Do what is due, several times a second; say so if this nginx is not what was found."""

    @abstractmethod
    def _complaint(self) -> str:
        """Return what nginx may have stumbled over."""

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
