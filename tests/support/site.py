"""A small site to put behind the edge, and a client that reaches it through TLS as a browser would."""

import asyncio
import gzip
import ssl
from pathlib import Path
from typing import Any

import httpx
from aiohttp import WSMsgType, web

from tests.support.ports import free_port


class EchoSite:
    """Answers what it was asked: the request's own path, headers and body; a WebSocket under ``/socket``."""

    def __init__(self) -> None:
        self.port = free_port()
        self.requests: list[str] = []
        self.messages: list[str] = []
        self.peers: set[object] = set()
        """From where connections came that requests were sent over."""
        self.dashboard: dict[str, str] = {}
        """What the WebSocket of the dashboard link answers."""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(client_max_size=2**20)
        app.router.add_get("/socket", self._socket)
        app.router.add_get("/ws/dashboard", self._dashboard)
        app.router.add_get("/ws/{name}", self._socket)
        app.router.add_get("/stream", self._stream)
        app.router.add_get("/api/stream", self._stream)
        app.router.add_get("/status/{status}", self._status)
        app.router.add_get("/api/gzip/encoded", self._encoded)
        app.router.add_get("/api/gzip/{kind:.+}", self._plain)
        app.router.add_route("*", "/{path:.*}", self._echo)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def _echo(self, request: web.Request) -> web.Response:
        self.requests.append(request.raw_path)
        if request.transport:
            self.peers.add(request.transport.get_extra_info("peername"))
        body = await request.text()
        return web.json_response(
            {"path": request.raw_path, "method": request.method, "headers": dict(request.headers), "body": body},
            headers={"Strict-Transport-Security": "max-age=1"},
        )

    async def _status(self, request: web.Request) -> web.Response:
        return web.Response(status=int(request.match_info["status"]), text="the site's own answer")

    async def _plain(self, request: web.Request) -> web.Response:
        return web.Response(body=b"again " * 1000, headers={"Content-Type": request.match_info["kind"]})

    async def _encoded(self, _: web.Request) -> web.Response:
        body = gzip.compress(b'{"encoded": "by the site"}' + b" " * 5000, compresslevel=0)
        return web.Response(body=body, headers={"Content-Type": "application/json", "Content-Encoding": "gzip"})

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: first\n\n")
        await asyncio.sleep(30)
        return response

    async def _dashboard(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.messages.append(await socket.receive_str())
        if self.dashboard:
            await socket.send_json(self.dashboard)
        await socket.close()
        return socket

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json(
            {
                "origin": request.headers.get("Origin"),
                "path": request.raw_path,
                "client": request.headers.get("X-Forwarded-For"),
            }
        )
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(f"echo {message.data}")
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
        return socket


class SiteClient:
    """HTTPS to any name on one port of this machine. Python knows no ``*.localhost``; names travel as SNI."""

    def __init__(self, authority: Path, port: int, domain: str = "claw.localhost", address: str = "127.0.0.1") -> None:
        self.port = port
        self.domain = domain
        self.tls = ssl.create_default_context(cafile=str(authority))
        transport = httpx.AsyncHTTPTransport(verify=self.tls, local_address=address)
        self._http = httpx.AsyncClient(transport=transport, timeout=10)

    async def __aenter__(self) -> "SiteClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def request(self, method: str, label: str | None, path: str = "/", **options: Any) -> httpx.Response:
        """Send a request to one instance's name, or to the bare domain."""
        host = f"{label}.{self.domain}" if label else self.domain
        headers = {"Host": f"{host}:{self.port}", **options.pop("headers", {})}
        url = f"https://127.0.0.1:{self.port}{path}"
        # A fresh connection each time: a kept one could still be with a worker of an earlier table.
        headers.setdefault("Connection", "close")
        return await self._http.request(method, url, headers=headers, extensions={"sni_hostname": host}, **options)

    async def get(self, label: str | None, path: str = "/", **options: Any) -> httpx.Response:
        return await self.request("GET", label, path, **options)

    async def raw(self, name: str, request: str) -> str:
        """Send what HTTP libraries would tidy up, on a connection made to ``name``; return the answer."""
        host = f"{name}.{self.domain}" if name else self.domain
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.tls, server_hostname=host)
        writer.write(request.encode())
        answer = b""
        try:
            async with asyncio.timeout(10):
                # Not to the end of the connection: nginx waits a while for a body that it has refused.
                while not answer.endswith(b"0\r\n\r\n") and (chunk := await reader.read(65536)):
                    answer += chunk
        finally:
            writer.close()
        return answer.decode(errors="replace")
