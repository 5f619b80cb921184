"""How a table of routes gets into nginx: what the ways of doing so share."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import structlog

from clawstead_proxy_sync.adapters.map_store import MapStore
from clawstead_proxy_sync.adapters.server import Server
from clawstead_proxy_sync.errors import EdgeUnavailableError
from clawstead_proxy_sync.nginx_map import RouteMap, Routes, Upstream

log = structlog.get_logger()

Differences = Mapping[str, tuple[Upstream | None, Upstream | None]]
"""Where names lead, and where they shall."""


class Routing(ABC):
    """One way. The stored map is the durable table in each of them. One call at a time, except of ``lead``."""

    reloads: ClassVar[bool]
    """Whether each table is a reload of nginx."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._store = MapStore(server.layout.map, server.layout.candidate_map)
        self._generation = 0

    @property
    @abstractmethod
    def served(self) -> RouteMap | None:
        """The table that every worker was seen to serve, None when that is not known."""

    @property
    @abstractmethod
    def stored(self) -> RouteMap | None:
        """The table that an nginx which starts now would serve, None when that is not known."""

    def asked(self, routes: Routes) -> Differences | None:
        """Return what a table changes of what is served, before its turn comes: a line that is led until then is newer.

        None if it is taken over as a whole.
        """
        return None

    @abstractmethod
    async def publish(self, routes: Routes, differences: Differences | None) -> RouteMap:
        """Have nginx serve these routes, and store them. Raises what ``Edge.publish`` does."""

    @abstractmethod
    async def lead(self, label: str, upstream: Upstream | None) -> bool:
        """See ``Edge.lead``."""

    @abstractmethod
    async def adopt(self) -> None:
        """Go on with a running nginx, whose file may be damaged.

        Raises:
            EdgeRefusedError: it refuses the configuration.
            EdgeUnavailableError: it does not do what it is told.
        """

    @abstractmethod
    def lost(self) -> None:
        """Note that nginx has ended: nobody knows what the next one serves."""

    @abstractmethod
    def deaf(self) -> bool:
        """Say whether nginx has lost a socket over which routes are changed."""

    @abstractmethod
    def _serves(self, table: RouteMap) -> None:
        """Note what was just seen to be served."""

    async def start(self) -> None:
        """Start nginx on the last good table, or an empty one.

        Raises:
            EdgeRefusedError: it refuses the configuration.
            EdgeUnavailableError: it cannot start, or does not serve that.
        """
        table = await self._whole()
        await self._server.start(table.generation)
        self._serves(table)

    async def reload(self) -> None:
        """Have nginx read its configuration again, and go on with the table it serves.

        Raises:
            EdgeRefusedError: nginx refuses the configuration.
            EdgeUnavailableError: it did not take it over in time, or nobody knows which table that is.
            OSError: it could not be stored.
        """
        if self.served is None:
            raise EdgeUnavailableError("nobody knows which routes nginx serves: the next table comes first")
        await asyncio.to_thread(self._store.repair)
        await self._server.reload(self.served.generation)

    async def repair(self) -> None:
        """Write the stored table again if somebody changed it."""
        await asyncio.to_thread(self._store.repair)

    async def intact(self) -> bool:
        """See ``Edge.intact``."""
        return await asyncio.to_thread(self._store.intact)

    async def _whole(self) -> RouteMap:
        """Return the table of the stored map, which is an intact file from now on."""
        table = await asyncio.to_thread(self._store.load)
        if table is None:
            if self._store.damaged():
                log.warning("the stored route map is damaged, beginning with an empty one")
            table = RouteMap(self._generation + 1, {})
            await asyncio.to_thread(self._store.put, table)
        self._generation = max(self._generation, table.generation)
        await asyncio.to_thread(self._store.repair)
        return table
