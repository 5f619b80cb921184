"""Instances as the edge sees them: a listener on a port, that says whose it is."""

import asyncio
from collections import deque

from aiohttp import WSMsgType, web

from tests.support.ports import free_port


class Tenant:
    """A listener that stays while its port changes hands, as the ports of a host do."""

    def __init__(self) -> None:
        self.port = free_port()
        self.label = ""
        """Whose it is now; what it answers."""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen."""
        app = web.Application()
        app.router.add_get("/socket", self._socket)
        app.router.add_get("/", self._index)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        """Listen no more."""
        if self._runner:
            await self._runner.cleanup()

    async def _index(self, _: web.Request) -> web.Response:
        return web.Response(text=self.label)

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
        return socket


class Tenants:
    """So many listeners. The one that is free for longest is let first."""

    def __init__(self, count: int) -> None:
        self._all = [Tenant() for _ in range(count)]
        self._free = deque(self._all)

    async def start(self) -> None:
        """Have all of them listen."""
        await asyncio.gather(*(tenant.start() for tenant in self._all))

    async def stop(self) -> None:
        """Have none of them listen."""
        await asyncio.gather(*(tenant.stop() for tenant in self._all))

    def let(self, label: str) -> Tenant:
        """Return a listener that is ``label``'s from now on."""
        tenant = self._free.popleft()
        tenant.label = label
        return tenant

    def give_back(self, tenant: Tenant) -> None:
        """Let another have it later."""
        self._free.append(tenant)
