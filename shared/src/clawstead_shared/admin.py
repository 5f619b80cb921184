"""The three questions that every service answers over HTTP: alive, ready, and how much.

``/livez`` says that the event loop turns. ``/readyz`` says whether the service can do its job, and if not,
why. ``/metrics`` is Prometheus text.
"""

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


class Readiness:
    """What a service still waits for. Ready when every condition that was named has been met."""

    def __init__(self, *conditions: str) -> None:
        self._waiting: dict[str, str] = dict.fromkeys(conditions, "not yet")

    def met(self, condition: str) -> None:
        """Say that ``condition`` holds now."""
        self._waiting.pop(condition, None)

    def unmet(self, condition: str, why: str) -> None:
        """Say that ``condition`` does not hold, and why; shown to operators, so no secrets."""
        self._waiting[condition] = why

    @property
    def waiting(self) -> dict[str, str]:
        """The conditions that do not hold, each with its reason; empty when ready."""
        return dict(self._waiting)


def admin_routes(service: str, readiness: Readiness) -> list[Route]:
    """Return the routes ``/livez``, ``/readyz`` and ``/metrics``."""

    async def livez(_: Request) -> Response:
        return JSONResponse({"service": service, "status": "live"})

    async def readyz(_: Request) -> Response:
        waiting = readiness.waiting
        status = {"service": service, "status": "waiting" if waiting else "ready", "waiting": waiting}
        return JSONResponse(status, status_code=503 if waiting else 200)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)]
