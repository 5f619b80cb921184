"""A door in front of an ACME server: counts what passes, and can be shut, limit orders, or keep one waiting."""

import asyncio
import json
import ssl
from datetime import datetime
from http import HTTPStatus

import aiohttp
from aiohttp import web

from tests.support.acme.server import AcmeServer, Trust
from tests.support.ports import free_port

_ORDER = "/order-plz"
PROOF, SIGNATURE = "/chalZ/", "/finalize-order/"
"""Where an order can be kept waiting: its records are published; they were seen, and taken back."""
_PASSED = ("Content-Type", "Location", "Link", "Replay-Nonce", "Retry-After")


class AcmeGate:
    """Its ``url`` is an ACME directory: certbot meets nothing else. One per test."""

    def __init__(self, server: AcmeServer, trust: Trust) -> None:
        self.port = free_port()
        self.orders = 0
        """How many certificates were asked for."""
        self.limited_until: datetime | None = None
        """Until when further orders are refused, as the answer says."""
        self.waiting = asyncio.Event()
        """A request came as far as it is let."""
        self._held_at = SIGNATURE
        self._go_on = asyncio.Event()
        self._go_on.set()
        self._server, self._trust = server, trust
        self._client: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/dir"

    async def start(self) -> None:
        tls = ssl.create_default_context(cafile=str(self._trust.authority))
        self._client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls), auto_decompress=False)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._pass)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._trust.server_tls()).start()

    async def stop(self) -> None:
        """Be down: nothing listens any more."""
        self.let_go()
        if self._runner and self._client:
            await self._runner.cleanup()
            await self._client.close()
            self._runner = self._client = None

    def hold(self, at: str = SIGNATURE) -> None:
        """Keep requests of one kind waiting, until ``let_go``."""
        self._held_at = at
        self.waiting.clear()
        self._go_on.clear()

    def let_go(self) -> None:
        self._go_on.set()

    async def _pass(self, request: web.Request) -> web.Response:
        if request.path.startswith(self._held_at) and not self._go_on.is_set():
            self.waiting.set()
            await self._go_on.wait()
        answer = await self._forwarded(request)
        if request.path == _ORDER and answer.status == HTTPStatus.CREATED:  # one refused for its nonce is asked again
            self.orders += 1
            if self.limited_until:
                return _too_many(self.limited_until, answer.headers["Replay-Nonce"])
        return answer

    async def _forwarded(self, request: web.Request) -> web.Response:
        assert self._client
        # Pebble makes the addresses that it tells out of the host that it is asked for.
        headers = {name: value for name, value in request.headers.items() if name in {"Host", "Content-Type"}}
        url = f"https://127.0.0.1:{self._server.port}{request.path_qs}"
        async with self._client.request(request.method, url, headers=headers, data=await request.read()) as answer:
            kept = [(name, value) for name, value in answer.headers.items() if name in _PASSED]
            return web.Response(status=answer.status, body=await answer.read(), headers=kept)


def _too_many(until: datetime, nonce: str) -> web.Response:
    detail = (
        "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s, "
        f"retry after {until:%Y-%m-%d %H:%M:%S} UTC: see https://letsencrypt.org/docs/rate-limits/"
    )
    problem = {"type": "urn:ietf:params:acme:error:rateLimited", "detail": detail, "status": 429}
    headers = {"Replay-Nonce": nonce}
    return web.Response(status=429, body=json.dumps(problem), headers=headers, content_type="application/problem+json")
