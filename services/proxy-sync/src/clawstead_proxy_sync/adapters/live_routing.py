"""Routes in a dictionary that all workers of nginx share: a line is changed at once, and no change is a reload.

    a line:   change "from generation 7 to 8" over the control socket -> served by every worker, old and new
    a table:  what is still missing, like a line; then the file, gathered, for the nginx that starts next

The dictionary is the truth while nginx runs. It takes a change only on top of the generation that the change was
made for; if that is not the one it has, or nobody knows, it gets the whole table from the file.
"""

import asyncio
from types import MappingProxyType

import structlog
from prometheus_client import Counter

from clawstead_proxy_sync import nginx_map
from clawstead_proxy_sync.adapters.control import MOST_CHANGES, Changes, Control
from clawstead_proxy_sync.adapters.routing import Differences, Routing
from clawstead_proxy_sync.adapters.server import Server
from clawstead_proxy_sync.adapters.status import Serving
from clawstead_proxy_sync.nginx_map import RouteMap, Routes, Upstream
from clawstead_shared.errors import TransientError

log = structlog.get_logger()

CHANGES = Counter("clawstead_edge_changes_total", "Changes of nginx's routes without a reload", ["how"])


class LiveRouting(Routing):
    """Lines are changed at once; the stored map follows."""

    reloads = False

    def __init__(self, server: Server, control: Control) -> None:
        super().__init__(server)
        self._control = control
        self._changing = asyncio.Lock()
        self._lines: dict[str, Upstream] | None = None
        self._last: RouteMap | None = None

    @property
    def served(self) -> RouteMap | None:
        """See ``Routing.served``."""
        return None if self._lines is None else RouteMap(self._generation, MappingProxyType(self._lines))

    @property
    def stored(self) -> RouteMap | None:
        """See ``Routing.stored``."""
        return self._store.table

    async def lead(self, label: str, upstream: Upstream | None) -> bool:
        """See ``Routing.lead``."""
        async with self._changing:
            if self._lines is None:
                return False
            if self._lines.get(label) != upstream:
                try:
                    await self._change({label: upstream})
                except TransientError as error:
                    log.warning("a route waits for the whole table", label=label, error=str(error))
                    return False
            return True

    def asked(self, routes: Routes) -> Differences | None:
        """See ``Routing.asked``."""
        if self._lines is None:
            return None
        lines = self._lines
        differing = {label for label, upstream in routes.items() if lines.get(label) != upstream}
        differing |= lines.keys() - routes.keys()
        return {label: (lines.get(label), routes.get(label)) for label in differing}

    async def publish(self, routes: Routes, differences: Differences | None) -> RouteMap:
        """See ``Routing.publish``."""
        async with self._changing:
            if self._lines is None or differences is None:
                return await self._load(RouteMap(self._generation + 1, dict(routes)))
            changes = {label: new for label, (old, new) in differences.items() if self._lines.get(label) == old}
            if len(changes) > MOST_CHANGES:
                return await self._load(RouteMap(self._generation + 1, dict(routes)))
            if changes:
                await self._change(changes)
            table = RouteMap(self._generation, dict(self._lines))
        if self._store.table != table or not await self.intact():
            await asyncio.to_thread(self._store.put, table)
        return table

    async def reload(self) -> None:
        """See ``Routing.reload``."""
        # A line that changes meanwhile is another generation than the one that has to be seen.
        async with self._changing:
            await super().reload()

    async def adopt(self) -> None:
        """See ``Routing.adopt``."""
        table = await self._control.table() if self._control.there() else None
        if table is None:
            await self._adopt_without_routes()
            return
        # What nginx serves is at least as new as the file, whatever became of that.
        self._serves(table)
        if await asyncio.to_thread(self._store.load) != table:
            log.warning("the stored route map is not what nginx serves, and is written again")
            await asyncio.to_thread(self._store.put, table)
        await self._reload_unless(table.generation)

    def lost(self) -> None:
        """See ``Routing.lost``."""
        if served := self.served:
            self._last = RouteMap(served.generation, dict(served.routes))
        self._lines = None

    def deaf(self) -> bool:
        """See ``Routing.deaf``."""
        return not self._control.there()

    async def _whole(self) -> RouteMap:
        # Lines that no table had brought to disk yet when nginx ended.
        if self._last and self._store.table and self._last.generation > self._store.table.generation:
            await asyncio.to_thread(self._store.put, self._last)
        return await super()._whole()

    def _serves(self, table: RouteMap) -> None:
        self._generation = max(self._generation, table.generation)
        self._lines = {**table.routes}

    async def _adopt_without_routes(self) -> None:
        """Bring the stored table into an nginx that had another way of routing, or found no good file."""
        table = await self._whole()
        await self._reload_unless(table.generation)
        await self._load(table)

    async def _reload_unless(self, generation: int) -> None:
        await self._server.config_file.store()
        if await self._server.daemon.serving() != Serving(generation, self._server.config_file.revision):
            await self._server.reload(generation)

    async def _change(self, changes: Changes) -> None:
        assert self._lines is not None
        for label in changes:
            nginx_map.check_label(label)
        try:
            await self._control.change(self._generation, self._generation + 1, changes)
        except BaseException:
            # Done or not: nobody knows, so the whole table has to come.
            self._lines = None
            raise
        self._generation += 1
        for label, upstream in changes.items():
            self._lines.pop(label, None)
            if upstream:
                self._lines[label] = upstream
        CHANGES.labels("line").inc()

    async def _load(self, table: RouteMap) -> RouteMap:
        await asyncio.to_thread(self._store.put, table)
        self._lines = None
        self._generation = table.generation
        await self._control.load(table.generation)
        self._serves(table)
        CHANGES.labels("table").inc()
        return table
