"""What happens around every request: an id, one log line, the caller, and a bound on the body.

    RequestContext  ->  Authentication  ->  BodyLimit  ->  routes

Plain ASGI, so that event streams pass through untouched. FastAPI itself opens the request's span.
"""

import re
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

import structlog
from opentelemetry import trace
from prometheus_client import Histogram
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from clawstead_api.auth import Principal
from clawstead_api.brake import Brake
from clawstead_api.errors import ApiError, BodyTooLargeError, UnauthorizedError
from clawstead_api.problems import ProblemResponse
from clawstead_shared.forwarding import client_address
from clawstead_shared.ids import new_event_id

log = structlog.get_logger()

MAX_BODY_BYTES = 64 * 1024
API_ROOT = "/api/v1/"
PUBLIC_PATHS = frozenset({"/api/v1/openapi.json"})

REQUEST_ID_ATTRIBUTE = "http.request.header.x-request-id"
"""Of spans, as OpenTelemetry names request headers."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_REQUEST_ID_HEADER = "X-Request-ID"
_UNMATCHED = "(none)"

REQUESTS = Histogram(
    "clawstead_http_request_seconds",
    "Time to answer, event streams excepted",
    ["method", "route", "status"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5),
)

Authenticate = Callable[[str], Awaitable[Principal | None]]


class RequestContext:
    """Gives each request an id, answers what nobody else did, and says how it went."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        request_id = headers.get(_REQUEST_ID_HEADER, "")
        if not _REQUEST_ID.fullmatch(request_id):
            request_id = new_event_id()
        client = client_address(headers.getlist("X-Forwarded-For"), (scope.get("client") or ("",))[0])
        scope.setdefault("state", {}).update(request_id=request_id, client=client)
        trace.get_current_span().set_attributes({"client.address": client, REQUEST_ID_ATTRIBUTE: [request_id]})
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            answer = _Answer(send, request_id)
            started = time.perf_counter()
            try:
                await self._app(scope, receive, answer)
            except ApiError as error:
                await answer.refuse(error, scope, receive)
            except Exception:
                log.exception("request failed")
                await answer.refuse(ApiError("the failure is logged under this request id"), scope, receive)
            _report(scope, answer, time.perf_counter() - started)


class _Answer:
    """The sending side of one request: adds the request id, and remembers what was sent."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status = 0
        self.is_stream = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[_REQUEST_ID_HEADER] = self._request_id
            self.is_stream = headers.get("content-type", "").startswith("text/event-stream")
        await self._send(message)

    async def refuse(self, error: ApiError, scope: Scope, receive: Receive) -> None:
        """Answer with ``error``, unless an answer has begun."""
        if not self.status:
            await ProblemResponse(error, self._request_id)(scope, receive, self)


def _report(scope: Scope, answer: _Answer, seconds: float) -> None:
    route = getattr(scope.get("route"), "path", _UNMATCHED)
    method = scope["method"] if route != _UNMATCHED else "*"
    if not answer.is_stream:
        REQUESTS.labels(method, route, str(answer.status)).observe(seconds)
    line = log.debug if scope["method"] in {"GET", "HEAD"} and answer.status < HTTPStatus.BAD_REQUEST else log.info
    line(
        "request",
        method=scope["method"],
        route=route,
        status=answer.status,
        ms=round(seconds * 1000, 1),
        client=scope["state"]["client"],
    )


class Authentication:
    """Lets only callers with a token reach the API; everything below its root is closed by default."""

    def __init__(self, app: ASGIApp, authenticate: Authenticate, brake: Brake) -> None:
        self._app = app
        self._authenticate = authenticate
        self._brake = brake

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request.

        Raises:
            UnauthorizedError: no token, or one that is nobody's.
            TooManyFailuresError: the client tried too many that are nobody's.
        """
        if scope["type"] == "http" and scope["path"].startswith(API_ROOT) and scope["path"] not in PUBLIC_PATHS:
            scope["state"]["principal"] = await self._principal(Headers(scope=scope), scope["state"]["client"])
        await self._app(scope, receive, send)

    async def _principal(self, headers: Headers, client: str) -> Principal:
        scheme, _, rest = headers.get("Authorization", "").partition(" ")
        token = rest.strip()
        if scheme.lower() != "bearer" or not token:
            raise UnauthorizedError("send `Authorization: Bearer <token>`")
        self._brake.check(client, token)
        principal = await self._authenticate(token)
        if principal:
            self._brake.succeeded(token)
        else:
            self._brake.failed(client)
            raise UnauthorizedError("the token is unknown or revoked")
        return principal


class BodyLimit:
    """Reads the body before anyone parses it, and refuses one that is too large as soon as that shows."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request.

        Raises:
            BodyTooLargeError: the body is larger than ``MAX_BODY_BYTES``.
        """
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD"}:
            await self._app(scope, receive, send)
            return
        stated = Headers(scope=scope).get("Content-Length", "")
        if stated.isdecimal() and int(stated) > MAX_BODY_BYTES:
            raise _too_large()
        body = await _read(receive)
        if body is None:
            return
        waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        await self._app(scope, replay, send)


async def _read(receive: Receive) -> bytes | None:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        body += bytes(message.get("body", b""))
        if len(body) > MAX_BODY_BYTES:
            raise _too_large()
        if not message.get("more_body"):
            return body


def _too_large() -> BodyTooLargeError:
    return BodyTooLargeError(f"the body may have {MAX_BODY_BYTES} bytes at most")
