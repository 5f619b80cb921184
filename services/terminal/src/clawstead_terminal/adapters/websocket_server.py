"""The WebSocket server: who may connect, where to, and frames in and out."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus

import structlog
from prometheus_client import Gauge
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from clawstead_shared.forwarding import client_address
from clawstead_terminal.errors import Close
from clawstead_terminal.ports import Client, ClientGoneError
from clawstead_terminal.protocol import MAX_FRAME_BYTES
from clawstead_terminal.settings import TerminalSettings

Handler = Callable[[Client], Awaitable[None]]

CONNECTIONS = Gauge("clawstead_terminal_connections", "Open WebSocket connections")

_QUEUED_FRAMES = 4
_CLOSE_SECONDS = 2.0
_REASON_BYTES = 120

log = structlog.get_logger()


class WebSocketClient:
    """Keeps the promises of ``Client``."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection
        self._remote = _remote(connection)

    @property
    def remote(self) -> str:
        """See ``Client.remote``."""
        return self._remote

    @property
    def request_id(self) -> str | None:
        """See ``Client.request_id``."""
        return self._header("X-Request-ID")

    @property
    def traceparent(self) -> str | None:
        """See ``Client.traceparent``."""
        return self._header("traceparent")

    def _header(self, name: str) -> str | None:
        values = self._connection.request.headers.get_all(name) if self._connection.request else []
        return values[0] if values else None

    async def receive(self) -> str | bytes:
        """See ``Client.receive``."""
        try:
            return await self._connection.recv()
        except ConnectionClosed as closed:
            raise ClientGoneError from closed

    async def send(self, frame: str | bytes) -> None:
        """See ``Client.send``."""
        try:
            await self._connection.send(frame)
        except ConnectionClosed as closed:
            raise ClientGoneError from closed

    async def close(self, code: int, reason: str) -> None:
        """See ``Client.close``."""
        short = reason.encode()[:_REASON_BYTES].decode(errors="ignore")
        await self._connection.close(code, short)


class WebSocketServer:
    """Routes connections by path; at most so many at once."""

    def __init__(self, settings: TerminalSettings, routes: Mapping[str, Handler]) -> None:
        self._settings = settings
        self._routes = routes
        self._connections = 0
        self._server: Server | None = None
        CONNECTIONS.set_function(lambda: self._connections)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Accept connections while the block runs."""
        settings = self._settings
        self._server = await serve(
            self._handle,
            settings.bind_host,
            settings.terminal_ws_port,
            process_request=self._route,
            # An Origin that is not among these is answered with 403, before any WebSocket exists.
            origins=list(settings.origins),  # type: ignore[arg-type]  # Origin is a NewType of str
            compression=None,
            server_header=None,
            max_size=MAX_FRAME_BYTES,
            max_queue=_QUEUED_FRAMES,
            ping_interval=settings.terminal_ping_interval.total_seconds(),
            ping_timeout=settings.terminal_ping_timeout.total_seconds(),
            close_timeout=_CLOSE_SECONDS,
        )
        try:
            yield
        finally:
            await self.stop()

    async def stop(self) -> None:
        """Close every connection with 1001 and wait until their handlers are done."""
        if self._server:
            self._server.close(code=Close.GOING_AWAY, reason="the gateway is stopping")
            await self._server.wait_closed()

    def _route(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path.partition("?")[0] not in self._routes:
            return connection.respond(HTTPStatus.NOT_FOUND, "there is nothing here\n")
        if self._connections >= self._settings.terminal_max_connections:
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections, try again later\n")
        return None

    async def _handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        handler = self._routes[connection.request.path.partition("?")[0]]
        self._connections += 1
        try:
            await handler(WebSocketClient(connection))
        finally:
            self._connections -= 1


def _remote(connection: ServerConnection) -> str:
    forwarded = connection.request.headers.get_all("X-Forwarded-For") if connection.request else []
    return client_address(forwarded, str(connection.remote_address[0]))
