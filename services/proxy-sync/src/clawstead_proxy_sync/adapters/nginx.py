"""The edge on nginx: its life, its files and its gates; ``routing`` says how a table gets into it.

An nginx of ours is a daemon of its own. When proxy-sync is stopped it ends nginx; when proxy-sync
dies nginx goes on serving what it knows, and the next proxy-sync finds and adopts it.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog
from prometheus_client import Counter

from clawstead_proxy_sync.adapters.gates import Gates
from clawstead_proxy_sync.adapters.routing import Routing
from clawstead_proxy_sync.adapters.server import Server
from clawstead_proxy_sync.backoff import Backoff
from clawstead_proxy_sync.errors import EdgeRefusedError, EdgeUnavailableError, explained
from clawstead_proxy_sync.nginx_conf import NginxConfig
from clawstead_proxy_sync.nginx_map import Page, RouteMap, Routes, Upstream
from clawstead_proxy_sync.ports import Report

log = structlog.get_logger()

STARTS = Counter("clawstead_edge_starts_total", "How often nginx was started or adopted", ["how"])

_SETTLED_SECONDS = 10.0
_NOT_NOW = (EdgeRefusedError, EdgeUnavailableError, OSError)
_LONGEST_WAIT_SECONDS = 5.0


class NginxEdge:
    """One nginx. Keeps ``Edge``."""

    def __init__(
        self, server: Server, routing: Routing, config: NginxConfig, files: dict[str, bytes], *, keep: bool = False
    ) -> None:
        self._server = server
        self._daemon = server.daemon
        self._layout = server.layout
        self._routing = routing
        self._files = files
        self._keep = keep
        self._gates = Gates(server.layout.ready, server.layout.closed)
        self._changing = asyncio.Lock()
        self._up = asyncio.Event()
        self._use(config)

    @property
    def config(self) -> NginxConfig:
        """The configuration in use."""
        return self._config

    @property
    def served(self) -> RouteMap | None:
        """See ``Edge.served``."""
        return self._routing.served

    @property
    def stored(self) -> RouteMap | None:
        """See ``Edge.stored``."""
        return self._routing.stored

    @property
    def draining(self) -> int:
        """See ``Edge.draining``."""
        return self._daemon.draining if self._routing.reloads else 0

    @property
    def crowded(self) -> bool:
        """See ``Edge.crowded``."""
        return self._routing.reloads and self._daemon.crowded

    def open_gate(self, label: str) -> None:
        """See ``Edge.open_gate``."""
        with _said_of("open", label):
            self._gates.open(label)

    def close_gate(self, label: str, page: Page | None = None) -> None:
        """See ``Edge.close_gate``."""
        with _said_of("close", label):
            self._gates.close(label, page)

    def open_gates(self) -> set[str]:
        """See ``Edge.open_gates``."""
        return self._gates.all()

    def pages(self) -> dict[str, Page]:
        """See ``Edge.pages``."""
        return self._gates.pages()

    async def up(self) -> None:
        """See ``Edge.up``."""
        await self._up.wait()

    async def run(self, report: Report) -> None:
        """See ``Edge.run``."""
        backoff = Backoff(last=_LONGEST_WAIT_SECONDS)
        try:
            while True:
                begun = time.monotonic()
                try:
                    async with self._changing:
                        await self._begin()
                except _NOT_NOW as error:
                    log.warning("the edge does not run", error=explained(error))
                    report(explained(error))
                else:
                    report(self._daemon.doubt)
                    why = await self._daemon.watch()
                    log.error("nginx is not as it was", why=why)
                    report(why)
                    if time.monotonic() - begun > _SETTLED_SECONDS:
                        backoff.reset()
                self._down()
                await asyncio.sleep(backoff.next())
        finally:
            self._down()
            if not self._keep:
                await self._daemon.end()

    async def publish(self, routes: Routes) -> RouteMap:
        """See ``Edge.publish``."""
        differences = self._routing.asked(routes)
        async with self._changing:
            if not self._up.is_set():
                raise EdgeUnavailableError("nginx does not run")
            return await self._routing.publish(routes, differences)

    async def lead(self, label: str, upstream: Upstream | None) -> bool:
        """See ``Edge.lead``."""
        return self._up.is_set() and await self._routing.lead(label, upstream)

    async def reconfigure(self, config: NginxConfig) -> None:
        """Serve another configuration or certificate. Existing connections stay open.

        Raises:
            EdgeRefusedError: nginx refuses it; the old one stays.
            EdgeUnavailableError: nginx did not take it over in time, or cannot now.
            OSError: it could not be stored.
        """
        async with self._changing:
            if config == self._config:
                return
            before = self._config
            self._use(config)
            if not self._up.is_set():
                return
            try:
                await self._routing.reload()
            except _NOT_NOW:
                # What is in use is also what the next repair writes, should it not be possible now.
                self._use(before)
                with suppress(*_NOT_NOW):
                    await self._server.config_file.store()
                raise

    async def repair(self) -> None:
        """See ``Edge.repair``."""
        async with self._changing:
            if not self._up.is_set():
                return
            await asyncio.to_thread(self._layout.prepare, self._files)
            await self._routing.repair()
            await self._server.config_file.store()
            if self._daemon.deaf() or self._routing.deaf():
                # Nobody can ask any more what is served or change it, and only a fresh nginx makes another socket.
                log.error("a socket of nginx is gone, so it is started again")
                await self._daemon.end()

    async def intact(self) -> bool:
        """See ``Edge.intact``."""
        return await self._routing.intact()

    def _use(self, config: NginxConfig) -> None:
        self._config = config
        self._server.config_file.use(config)

    def _down(self) -> None:
        self._up.clear()
        self._routing.lost()

    async def _begin(self) -> None:
        await asyncio.to_thread(self._layout.prepare, self._files)
        running = self._daemon.find()
        await asyncio.to_thread(self._gates.expire, running=running)
        adopted = running and await self._adopt()
        if not adopted:
            await self._routing.start()
        STARTS.labels("adopted" if adopted else "started").inc()
        generation = self.served.generation if self.served else None
        log.info("nginx runs", pid=self._daemon.pid, adopted=adopted, generation=generation)
        self._up.set()

    async def _adopt(self) -> bool:
        try:
            await self._routing.adopt()
        except (EdgeRefusedError, EdgeUnavailableError) as error:
            log.warning("a running nginx cannot be adopted", error=str(error))
            await self._daemon.end()
            return False
        return True


@contextmanager
def _said_of(action: str, label: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EdgeUnavailableError(f"the gate of {label} does not {action}: {explained(error)}") from error
