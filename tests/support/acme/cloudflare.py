"""Cloudflare's API as far as certbot's plugin uses it; its records go into the DNS that the ACME server asks.

Both generations of the plugin are understood: 5.x asks with ``name.exact``, that of Debian 12 with ``name``.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from aiohttp import web

from tests.support.acme.server import DnsServer
from tests.support.ports import free_port

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_INVALID_TOKEN = 9109
_SAME_RECORD = 81058


@dataclass(frozen=True)
class Record:
    zone: str
    name: str
    content: str


class FakeCloudflare:
    """One account. What it is told to do wrong, it does until told otherwise."""

    def __init__(self, dns: DnsServer, *, token: str, zone: str) -> None:
        self.port = free_port()
        self.token = token
        self.zones = {zone}
        self.publishes = True
        """Whether records become visible in the DNS."""
        self.records: dict[str, Record] = {}
        self.created: list[Record] = []
        """Every record that ever was, in the order of making."""
        self.requests: list[str] = []
        self._dns = dns
        self._numbers = count(1)
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/client/v4"

    async def start(self) -> None:
        app = web.Application(middlewares=[self._checked])
        app.router.add_get("/client/v4/zones", self._zones)
        app.router.add_get("/client/v4/zones/{zone}/dns_records", self._list)
        app.router.add_post("/client/v4/zones/{zone}/dns_records", self._create)
        app.router.add_delete("/client/v4/zones/{zone}/dns_records/{id}", self._delete)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        """Be down: nothing listens any more."""
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    @web.middleware
    async def _checked(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests.append(f"{request.method} {request.path_qs}")
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return _refused(403, _INVALID_TOKEN, "Invalid access token")
        return await handler(request)

    async def _zones(self, request: web.Request) -> web.Response:
        wanted = request.query.get("name")
        return _page(request, [{"id": _id(zone), "name": zone} for zone in sorted(self.zones) if zone == wanted])

    async def _list(self, request: web.Request) -> web.Response:
        name = request.query.get("name.exact", request.query.get("name"))
        content = request.query.get("content.exact", request.query.get("content"))
        zone = request.match_info["zone"]
        found = [
            _shown(number, record)
            for number, record in self.records.items()
            if (_id(record.zone), record.name, record.content) == (zone, name, content)
        ]
        return _page(request, found)

    async def _create(self, request: web.Request) -> web.Response:
        body = await request.json()
        zone = next(zone for zone in self.zones if _id(zone) == request.match_info["zone"])
        record = Record(zone, body["name"], body["content"])
        if record in self.records.values():
            return _refused(400, _SAME_RECORD, "A record with the same settings already exists.")
        number = f"{next(self._numbers):032x}"
        self.records[number] = record
        self.created.append(record)
        if self.publishes:
            await self._dns.put(record.name, record.content)
        return _answer(_shown(number, record))

    async def _delete(self, request: web.Request) -> web.Response:
        record = self.records.pop(request.match_info["id"], None)
        if record is None:
            return _refused(404, 81044, "Record does not exist.")
        await self._dns.clear(record.name)
        for other in self.records.values():
            if other.name == record.name and self.publishes:
                await self._dns.put(other.name, other.content)
        return _answer({"id": request.match_info["id"]})


def _id(zone: str) -> str:
    return zone.encode().hex()[:32].ljust(32, "0")


def _shown(number: str, record: Record) -> dict[str, Any]:
    return {"id": number, "type": "TXT", "name": record.name, "content": record.content, "ttl": 120}


def _page(request: web.Request, found: list[dict[str, Any]]) -> web.Response:
    page = int(request.query.get("page", "1"))
    shown = found if page == 1 else []
    info = {"page": page, "per_page": 1, "count": len(shown), "total_count": len(found), "total_pages": 1}
    return _answer(shown, result_info=info)


def _answer(result: object, **more: object) -> web.Response:
    return web.json_response({"success": True, "errors": [], "messages": [], "result": result, **more})


def _refused(status: int, code: int, message: str) -> web.Response:
    errors = [{"code": code, "message": message}]
    return web.json_response({"success": False, "errors": errors, "messages": [], "result": None}, status=status)
