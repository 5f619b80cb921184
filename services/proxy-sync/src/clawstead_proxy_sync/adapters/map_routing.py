"""Routes in the map that nginx reads: works with every nginx, and every change is a reload.

    candidate file -> nginx -t -> rename -> SIGHUP -> every accepting worker is new and shows the generation

and back to the last good one if the end is not reached.
"""

import asyncio

import structlog

from clawstead_proxy_sync import nginx_conf, nginx_map
from clawstead_proxy_sync.adapters.routing import Differences, Routing
from clawstead_proxy_sync.adapters.server import Server
from clawstead_proxy_sync.adapters.status import Serving
from clawstead_proxy_sync.errors import EdgeRefusedError, EdgeUnavailableError
from clawstead_proxy_sync.nginx_map import RouteMap, Routes, Upstream

log = structlog.get_logger()


class MapRouting(Routing):
    """A table is taken over as a whole."""

    reloads = True

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._served: RouteMap | None = None

    @property
    def served(self) -> RouteMap | None:
        """See ``Routing.served``."""
        return self._served

    @property
    def stored(self) -> RouteMap | None:
        """See ``Routing.stored``."""
        return self._store.table

    async def lead(self, label: str, upstream: Upstream | None) -> bool:
        """See ``Routing.lead``."""
        nginx_map.check_label(label)
        return self._served is not None and self._served.routes.get(label) == upstream

    async def publish(self, routes: Routes, differences: Differences | None) -> RouteMap:
        """See ``Routing.publish``."""
        self._generation += 1
        table = RouteMap(self._generation, dict(routes))
        await asyncio.to_thread(self._propose, table)
        await self._server.command.test(self._server.layout.map_check)
        before = await asyncio.to_thread(self._store.accept)
        try:
            await self._server.reload(table.generation)
        except (EdgeRefusedError, EdgeUnavailableError):
            await self._go_back(before)
            raise
        self._served = table
        return table

    async def adopt(self) -> None:
        """See ``Routing.adopt``."""
        serving = await self._server.daemon.serving()
        self._generation = max(self._generation, serving.generation)
        table = await asyncio.to_thread(self._store.load)
        if table is None:
            # What nginx has in memory is better than the damaged file; the next table replaces both.
            log.warning("the stored route map is damaged")
            return
        await asyncio.to_thread(self._store.repair)
        await self._server.config_file.store()
        if serving != Serving(table.generation, self._server.config_file.revision):
            await self._server.reload(table.generation)
        self._serves(table)

    def lost(self) -> None:
        """See ``Routing.lost``."""
        self._served = None

    def deaf(self) -> bool:
        """See ``Routing.deaf``."""
        return False

    def _serves(self, table: RouteMap) -> None:
        self._generation = max(self._generation, table.generation)
        self._served = table

    def _propose(self, table: RouteMap) -> None:
        self._store.propose(table)
        self._server.layout.map_check.write_text(nginx_conf.render_map_check())

    async def _go_back(self, table: RouteMap | None) -> None:
        self._served = None
        if table is None:
            return
        await asyncio.to_thread(self._store.put, table)
        try:
            await self._server.reload(table.generation)
        except EdgeUnavailableError as error:
            # It no longer does what it is told; a fresh one is started by whoever watches.
            log.error("nginx does not take over any table and is ended", error=str(error))  # noqa: TRY400
            await self._server.daemon.end()
        else:
            self._served = table
