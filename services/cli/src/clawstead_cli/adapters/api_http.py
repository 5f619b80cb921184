"""The API as its clients see it: JSON over HTTP, with a bearer token."""

import json
import ssl
from collections.abc import Iterable, Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from clawstead_cli.adapters.tls import HttpsConnection, trusting
from clawstead_cli.errors import CommandError, UnreachableError, UsageError

_ROOT = "/api/v1"
_TIMEOUT_SECONDS = 10.0
_MAX_ANSWER_BYTES = 16 * 1024 * 1024
_OK = range(200, 300)
_UNAUTHORIZED = 401
_NOT_FOUND = 404
_LATER = {429, 500, 502, 503, 504}


class RefusedError(CommandError):
    """The API refuses what was asked for, and would again."""


class NotThereError(RefusedError):
    """The API knows no such thing, or it is another owner's."""


class ApiHttp:
    """One API at ``url``. Every request is a connection of its own and ends within ten seconds of silence."""

    def __init__(self, url: str, token: str, authorities: Iterable[Path]) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise UsageError(f"not the address of an API: {url}", hint="like https://claw.example.com:8443")
        self._url = url
        self._host, self._port, self._path = parts.hostname, parts.port, parts.path.rstrip("/").removesuffix(_ROOT)
        self._token = token
        self._tls = trusting(authorities) if parts.scheme == "https" else None

    def get(self, path: str, **query: str | int | None) -> dict[str, Any]:
        """Read something.

        Raises:
            RefusedError: the API refuses.
            UnreachableError: it does not answer, or says to come back later.
        """
        given = {name: value for name, value in query.items() if value is not None}
        return self._request("GET", f"{path}?{urlencode(given)}" if given else path, None, {})

    def post(self, path: str, body: Mapping[str, Any], *, key: str) -> dict[str, Any]:
        """Order something; ordering it again with the same ``key`` has no further effect.

        Raises:
            RefusedError: the API refuses.
            UnreachableError: it does not answer, or says to come back later; the order may have been taken.
        """
        return self._request("POST", path, json.dumps(body), {"Idempotency-Key": key})

    def delete(self, path: str, **query: str) -> dict[str, Any]:
        """Have something deleted; deleting it again has no further effect.

        Raises:
            RefusedError: the API refuses.
            UnreachableError: it does not answer, or says to come back later; the order may have been taken.
        """
        return self._request("DELETE", f"{path}?{urlencode(query)}" if query else path, None, {})

    def _request(self, method: str, path: str, body: str | None, headers: dict[str, str]) -> dict[str, Any]:
        headers = {**headers, "Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        connection = self._connection()
        try:
            connection.request(method, f"{self._path}{_ROOT}{path}", body, headers)
            response = connection.getresponse()
            answer = _parsed(response.read(_MAX_ANSWER_BYTES))
        except (OSError, HTTPException) as error:
            raise UnreachableError(f"the API at {self._url} does not answer: {error}", hint=_hint(error)) from error
        finally:
            connection.close()
        if response.status not in _OK:
            raise _refusal(response.status, _reason(answer) or response.reason)
        if not answer:
            raise UnreachableError(f"what is at {self._url} answers, but not as an API", hint="--url names another one")
        return answer

    def _connection(self) -> HTTPConnection:
        if self._tls:
            return HttpsConnection(self._host, self._port, timeout=_TIMEOUT_SECONDS, context=self._tls)
        return HTTPConnection(self._host, self._port, timeout=_TIMEOUT_SECONDS)


def _parsed(answer: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(answer)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _reason(problem: Mapping[str, Any]) -> str:
    # A request with several mistakes is corrected at once only if all are told.
    fields = [f"{each.get('field')}: {each.get('detail')}" for each in problem.get("errors") or ()]
    return "; ".join(fields) or str(problem.get("detail") or "")


def _refusal(status: int, detail: str) -> CommandError:
    if status in _LATER:
        return UnreachableError(f"the API cannot answer now ({status}): {detail}")
    if status == _UNAUTHORIZED:
        return UsageError(f"the API does not know the token: {detail}", hint="`clawstead token --new` makes one")
    return (NotThereError if status == _NOT_FOUND else RefusedError)(f"{detail} ({status})")


def _hint(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return "its certificate is not trusted; --data-dir names the installation whose CA is to be trusted"
    return "`clawstead status` says what runs; --url names another API"
