"""Renders refusals as RFC 9457 problem details: always JSON, always naming the field, never echoing input."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from clawstead_api.errors import ApiError, FieldError, InvalidRequestError, MalformedRequestError, NotFoundError

MEDIA_TYPE = "application/problem+json"
TYPE_ROOT = "urn:clawstead:problem:"

_MAX_ERRORS = 20
_SOURCES = {"body", "query", "path", "header", "cookie"}


class FieldProblem(BaseModel):
    """What is wrong with one field."""

    field: str
    detail: str


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str
    """Stable name of the kind of problem, ``urn:clawstead:problem:<slug>``."""
    title: str
    status: int
    detail: str
    request_id: str
    """Quote it when you ask for help."""
    errors: list[FieldProblem] | None = None
    """The fields to correct, where it is about fields."""


class ProblemResponse(Response):
    """A problem as the client receives it."""

    media_type = MEDIA_TYPE

    def __init__(self, error: ApiError, request_id: str) -> None:
        problem: dict[str, Any] = {
            "type": f"{TYPE_ROOT}{error.slug}",
            "title": error.title,
            "status": error.status,
            "detail": error.detail,
            "request_id": request_id,
        }
        if error.errors:
            problem["errors"] = [{"field": each.field, "detail": each.detail} for each in error.errors]
        # ASCII only: a field name that the client made up may hold what UTF-8 cannot encode.
        super().__init__(json.dumps(problem), error.status, dict(error.headers))


class _OtherError(ApiError):
    """What the framework refuses by itself, such as a wrong method."""

    def __init__(self, status: int, headers: Mapping[str, str] | None) -> None:
        phrase = HTTPStatus(status)
        super().__init__(phrase.description or phrase.phrase)
        self.slug = phrase.phrase.lower().replace(" ", "-")  # type: ignore[misc]  # one class for them all
        self.status = phrase  # type: ignore[misc]
        self.title = phrase.phrase  # type: ignore[misc]
        self._headers = dict(headers or {})

    @property
    def headers(self) -> dict[str, str]:
        """As the framework set them."""
        return self._headers


async def on_api_error(request: Request, error: Exception) -> Response:
    """Render one of our own refusals."""
    assert isinstance(error, ApiError)
    return ProblemResponse(error, request_id_of(request))


async def on_validation_error(request: Request, error: Exception) -> Response:
    """Render what pydantic found wrong with a request."""
    assert isinstance(error, RequestValidationError)
    return ProblemResponse(_validation_error(error.errors()), request_id_of(request))


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Render what the framework refuses: unknown routes, wrong methods, unreadable bodies."""
    assert isinstance(error, HTTPException)
    refusal: ApiError
    if error.status_code == HTTPStatus.NOT_FOUND:
        refusal = NotFoundError("no such address")
    elif error.status_code == HTTPStatus.BAD_REQUEST:
        refusal = MalformedRequestError("the body cannot be read", errors=(FieldError("body", "cannot be read"),))
    else:
        refusal = _OtherError(error.status_code, error.headers)
    return ProblemResponse(refusal, request_id_of(request))


def request_id_of(request: Request) -> str:
    """Return the id that the middleware gave the request."""
    return str(getattr(request.state, "request_id", ""))


def _validation_error(errors: Sequence[Any]) -> ApiError:
    if any(error["type"] == "json_invalid" for error in errors):
        return MalformedRequestError("the body is not JSON", errors=(FieldError("body", "is not JSON"),))
    return InvalidRequestError(*(FieldError(_field(error["loc"]), _detail(error)) for error in errors[:_MAX_ERRORS]))


def _field(location: Sequence[str | int]) -> str:
    source, *rest = location
    path = rest if source in _SOURCES and rest else location
    return ".".join(str(part)[:64] for part in path)


def _detail(error: Mapping[str, Any]) -> str:
    # The input is left out on purpose: it may be a secret in the wrong place.
    if error["type"] == "extra_forbidden":
        return "is not a field of this request"
    message = str(error["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
