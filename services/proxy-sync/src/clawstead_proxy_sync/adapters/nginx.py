"""The edge on nginx: its table, its gates, and through others the process and its configuration.

An nginx of ours is a daemon of its own. When proxy-sync is stopped it ends nginx; when proxy-sync
dies nginx goes on serving what it knows, and the next proxy-sync finds and adopts it. A new table goes

    candidate file -> nginx -t -> rename -> SIGHUP -> every accepting worker is new and shows the generation

and back to the last good one if the end is not reached.
"""

import asyncio
import time

import structlog
from prometheus_client import Counter

from clawstead_proxy_sync import nginx_conf, nginx_map
from clawstead_proxy_sync.adapters.config_file import ConfigFile
from clawstead_proxy_sync.adapters.gates import Gates
from clawstead_proxy_sync.adapters.layout import Layout
from clawstead_proxy_sync.adapters.map_store import MapStore
from clawstead_proxy_sync.adapters.nginx_command import NginxCommand
from clawstead_proxy_sync.adapters.proved_daemon import Daemon
from clawstead_proxy_sync.adapters.status import Serving
from clawstead_proxy_sync.backoff import Backoff
from clawstead_proxy_sync.errors import EdgeRefusedError, EdgeUnavailableError
from clawstead_proxy_sync.nginx_conf import NginxConfig
from clawstead_proxy_sync.nginx_map import RouteMap, Routes
from clawstead_proxy_sync.ports import Report

log = structlog.get_logger()

STARTS = Counter("clawstead_edge_starts_total", "How often nginx was started or adopted", ["how"])

_SETTLED_SECONDS = 10.0


class NginxEdge:
    """One nginx. Keeps ``Edge``."""

    def __init__(
        self,
        layout: Layout,
        config: NginxConfig,
        pages: dict[str, bytes],
        *,
        command: NginxCommand,
        daemon: Daemon,
        config_file: ConfigFile,
        keep: bool = False,
    ) -> None:
        self._layout = layout
        self._pages = pages
        self._keep = keep
        self._command = command
        self._daemon = daemon
        self._config_file = config_file
        self._store = MapStore(layout.map, layout.candidate_map)
        self._gates = Gates(layout.ready)
        self._changing = asyncio.Lock()
        self._up = asyncio.Event()
        self._generation = 0
        self._served: RouteMap | None = None
        self._use(config)

    @property
    def served(self) -> RouteMap | None:
        """See ``Edge.served``."""
        return self._served

    @property
    def draining(self) -> int:
        """See ``Edge.draining``."""
        return self._daemon.draining

    def open_gate(self, label: str) -> None:
        """See ``Edge.open_gate``."""
        self._gates.open(label)

    def close_gate(self, label: str) -> None:
        """See ``Edge.close_gate``."""
        self._gates.close(label)

    def open_gates(self) -> set[str]:
        """See ``Edge.open_gates``."""
        return self._gates.all()

    async def up(self) -> None:
        """See ``Edge.up``."""
        await self._up.wait()

    async def run(self, report: Report) -> None:
        """See ``Edge.run``."""
        backoff = Backoff()
        try:
            while True:
                begun = time.monotonic()
                try:
                    async with self._changing:
                        await self._begin()
                except (EdgeRefusedError, EdgeUnavailableError, OSError) as error:
                    log.warning("the edge does not run", error=str(error))
                    report(str(error))
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
        async with self._changing:
            if not self._up.is_set():
                raise EdgeUnavailableError("nginx does not run")
            self._generation += 1
            table = RouteMap(self._generation, dict(routes))
            text = nginx_map.render(table)
            if nginx_map.parse(text) != table:
                raise EdgeRefusedError("the table does not read back as it was written")
            await asyncio.to_thread(self._propose, text)
            await self._command.test(self._layout.map_check)
            before = await asyncio.to_thread(self._store.accept, text)
            try:
                await self._config_file.store()
                await self._daemon.reload(self._wanted(table))
            except (EdgeRefusedError, EdgeUnavailableError):
                await self._go_back(before)
                raise
            self._served = table
            return table

    async def reconfigure(self, config: NginxConfig) -> None:
        """Serve another configuration or certificate. Existing connections stay open.

        Raises:
            EdgeRefusedError: nginx refuses it; the old one stays.
            EdgeUnavailableError: nginx did not take it over in time.
        """
        async with self._changing:
            if config == self._config:
                return
            before = self._config
            self._use(config)
            if not self._up.is_set() or self._served is None:
                return
            await asyncio.to_thread(self._store.repair)
            try:
                await self._config_file.store()
                await self._daemon.reload(self._wanted(self._served))
            except (EdgeRefusedError, EdgeUnavailableError):
                self._use(before)
                await self._config_file.store()
                raise

    async def repair(self) -> None:
        """See ``Edge.repair``."""
        async with self._changing:
            if not self._up.is_set():
                return
            await asyncio.to_thread(self._layout.prepare, self._pages)
            await asyncio.to_thread(self._store.repair)
            await self._config_file.store()
            if self._daemon.deaf():
                # Nobody can ask any more what is served, and only a fresh nginx makes another socket.
                log.error("the status socket of nginx is gone, so it is started again")
                await self._daemon.end()

    async def intact(self) -> bool:
        """See ``Edge.intact``."""
        return await asyncio.to_thread(self._store.intact)

    def _use(self, config: NginxConfig) -> None:
        self._config = config
        self._config_file.use(config)

    def _wanted(self, table: RouteMap) -> Serving:
        return Serving(table.generation, self._config_file.revision)

    def _down(self) -> None:
        self._up.clear()
        self._served = None

    def _propose(self, text: bytes) -> None:
        self._store.propose(text)
        self._layout.map_check.write_text(nginx_conf.render_map_check())

    async def _begin(self) -> None:
        await asyncio.to_thread(self._layout.prepare, self._pages)
        adopted = self._daemon.find() and await self._adopt()
        if not adopted:
            await self._start()
        STARTS.labels("adopted" if adopted else "started").inc()
        log.info("nginx runs", pid=self._daemon.pid, adopted=adopted, generation=self._generation)
        self._up.set()

    async def _adopt(self) -> bool:
        try:
            serving = await self._daemon.serving()
            self._generation = max(self._generation, serving.generation)
            table = await asyncio.to_thread(self._store.load)
            if table is None:
                # What nginx has in memory is better than the damaged file; the next table replaces both.
                log.warning("the stored route map is damaged")
                return True
            await asyncio.to_thread(self._store.repair)
            await self._config_file.store()
            if serving != self._wanted(table):
                await self._daemon.reload(self._wanted(table))
        except (EdgeRefusedError, EdgeUnavailableError) as error:
            log.warning("a running nginx cannot be adopted", error=str(error))
            await self._daemon.end()
            return False
        self._served = table
        return True

    async def _start(self) -> None:
        table = await asyncio.to_thread(self._store.load)
        if table is None:
            if self._layout.map.exists():
                log.warning("the stored route map is damaged, beginning with an empty one")
            table = RouteMap(self._generation + 1, {})
            await asyncio.to_thread(self._store.put, nginx_map.render(table))
        self._generation = max(self._generation, table.generation)
        await asyncio.to_thread(self._store.repair)
        await self._config_file.store()
        await self._daemon.start(self._wanted(table))
        self._served = table

    async def _go_back(self, text: bytes | None) -> None:
        self._served = None
        if text is None:
            return
        await asyncio.to_thread(self._store.put, text)
        table = nginx_map.parse(text)
        try:
            await self._daemon.reload(self._wanted(table))
        except EdgeUnavailableError as error:
            # It no longer does what it is told; a fresh one is started by ``run``.
            log.error("nginx does not take over any table and is ended", error=str(error))  # noqa: TRY400
            await self._daemon.end()
        else:
            self._served = table
