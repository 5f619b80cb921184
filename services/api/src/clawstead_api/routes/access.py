"""What every route needs to know: the desk to work at, and who calls."""

from typing import Annotated, Any

from fastapi import Depends, Header, Path, Request, Security
from fastapi.security import HTTPBearer

from clawstead_api.desk import Caller, Desk
from clawstead_api.feed import Feed
from clawstead_api.idempotency import once
from clawstead_api.problems import MEDIA_TYPE, request_id_of

# Only documents the scheme: the middleware has checked the token before any route runs.
bearer = Security(HTTPBearer(auto_error=False, description="A Clawstead token, `claw_…`"))

InstanceId = Annotated[str, Path(description="The instance's id, a lower-case ULID")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Repeating a request with the same key within 24 hours returns the first answer",
    ),
]


def desk_of(request: Request) -> Desk:
    """Return the desk that the composition root set up."""
    desk: Desk = request.app.state.desk
    return desk


def feed_of(request: Request) -> Feed:
    """Return the live feed."""
    feed: Feed = request.app.state.feed
    return feed


def caller_of(request: Request) -> Caller:
    """Return who calls, as the middleware found."""
    return Caller(request.state.principal, request_id_of(request))


async def caller_once(request: Request, idempotency_key: IdempotencyKey = None) -> Caller:
    """Return who calls, with how to recognise the request when it is repeated."""
    caller = caller_of(request)
    desk = desk_of(request)
    target = f"{request.method} {request.url.path}"
    body = await request.body() if "application/json" in request.headers.get("content-type", "") else b""
    return Caller(
        caller.principal,
        caller.request_id,
        once(caller.owner_id, idempotency_key, (target, body), desk.vault.key),
    )


AtDesk = Annotated[Desk, Depends(desk_of)]
OnFeed = Annotated[Feed, Depends(feed_of)]
ByCaller = Annotated[Caller, Depends(caller_of)]
ByCallerOnce = Annotated[Caller, Depends(caller_once)]

_DESCRIPTIONS = {
    400: "The body is not JSON",
    401: "No token, or one that is not ours",
    404: "No instance of yours has this id",
    409: "Not possible in this state, or the subdomain is taken",
    413: "The body is larger than 64 KiB",
    422: "A field breaks a rule; `errors` names it",
    429: "Too much from one address, or the host is full; `Retry-After` says when to try again",
    503: "Not available right now; `Retry-After` says when to try again",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documentation of refusals; 401, 422, 429 and 503 are always possible."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": _DESCRIPTIONS[status], "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in sorted({401, 422, 429, 503, *statuses})
    }
