"""A gateway's HTTP face that does what a test tells it."""

import asyncio
from typing import Any, Self

from aiohttp import web


class StubGateway:
    """One server on a port of the system's choosing; every request is remembered."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b'{"ok":true}'
        self.hang = False
        self.requests: list[tuple[str, dict[str, str]]] = []
        self._release = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_get("/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._release.set()
        assert self._runner
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.requests.append((request.path, dict(request.headers)))
        if self.hang:
            await self._release.wait()
        return web.Response(status=self.status, body=self.body, content_type="application/json")

    @property
    def peers(self) -> Any:
        """Open connections, as the server counts them."""
        assert self._runner
        assert self._runner.server
        return len(self._runner.server.connections)
