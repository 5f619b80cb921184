"""Where a label leads, for nginx: asked when a gate is open and the worker's table has no line for it yet.

This bridges the second that a gathered reload may take. It is an ``auth_request``, so only the status and
one header count. Only nginx on this machine can reach it.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from clawstead_proxy_sync.reconcile import RouteKeeper

PATH = "/route"
_LABEL = "X-Clawstead-Label"
_UPSTREAM = "X-Clawstead-Upstream"


def lookup_route(keeper: RouteKeeper) -> Route:
    """Return the route that answers where a label leads."""

    async def lookup(request: Request) -> Response:
        upstream = keeper.upstream(request.headers.get(_LABEL, ""))
        if upstream is None:
            return Response(status_code=403)
        return Response(status_code=204, headers={_UPSTREAM: str(upstream)})

    return Route(PATH, lookup)
