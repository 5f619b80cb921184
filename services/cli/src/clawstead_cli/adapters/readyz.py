"""A service's own answer to whether it is ready."""

import json
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException

SILENT = "does not answer yet"
_TIMEOUT_SECONDS = 1.0
_OK = 200


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a service is ready, and what it waits for if not."""

    ready: bool
    waiting: dict[str, str] = field(default_factory=dict)


def probe(host: str, port: int) -> Readiness:
    """Ask ``/readyz``; a service that does not answer yet is not ready."""
    connection = HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        body = response.read(65536)
    except (OSError, HTTPException):
        return Readiness(False, {"http": SILENT})
    finally:
        connection.close()
    if response.status == _OK:
        return Readiness(True)
    return Readiness(False, _waiting(body) or {"http": f"status {response.status}"})


def _waiting(body: bytes) -> dict[str, str]:
    try:
        waiting = json.loads(body)["waiting"]
        return {str(condition): str(reason) for condition, reason in waiting.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
