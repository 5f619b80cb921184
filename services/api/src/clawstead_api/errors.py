"""What a request can be refused with. Each class fixes a slug and a status; ``problems`` renders them all.

ApiError
├── InvalidRequestError        422  fields that the client can correct
├── MalformedRequestError      400
├── UnauthorizedError          401
├── NotFoundError              404  no such route, or none that the caller may know of
├── InstanceNotFoundError      404
├── SubdomainTakenError        409
├── CommandRefusedError        409  not in this state
├── NotRunningError            409
├── BodyTooLargeError          413
├── IdempotencyKeyReusedError  422
├── HostFullError              429  worth a retry, once others are stopped or deleted
├── TooManyFailuresError       429  worth a retry with a token that is ours
└── UnavailableError           503  worth a retry
    ├── DatabaseUnavailableError
    ├── SealingKeyUnknownError
    ├── LogsUnavailableError
    └── TooManyStreamsError
"""

from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FieldError:
    """What is wrong with one field of a request."""

    field: str
    detail: str


class ApiError(Exception):
    """Base of what a client is told. ``detail`` is for people, and never holds what the client sent as secret."""

    slug: ClassVar[str] = "internal-error"
    status: ClassVar[HTTPStatus] = HTTPStatus.INTERNAL_SERVER_ERROR
    title: ClassVar[str] = "Something went wrong on our side"

    def __init__(self, detail: str, *, errors: tuple[FieldError, ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = errors

    @property
    def headers(self) -> dict[str, str]:
        """Headers that belong to the answer."""
        return {}


class InvalidRequestError(ApiError):
    """One or more fields break a rule."""

    slug = "invalid-request"
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    title = "The request breaks a rule"

    def __init__(self, *errors: FieldError) -> None:
        super().__init__("; ".join(f"{error.field}: {error.detail}" for error in errors), errors=errors)


class MalformedRequestError(ApiError):
    """The request cannot be read at all."""

    slug = "malformed-request"
    status = HTTPStatus.BAD_REQUEST
    title = "The request cannot be read"


class UnauthorizedError(ApiError):
    """No token, or one that is not ours."""

    slug = "unauthorized"
    status = HTTPStatus.UNAUTHORIZED
    title = "A valid bearer token is needed"

    @property
    def headers(self) -> dict[str, str]:
        """The challenge that RFC 6750 asks for."""
        return {"WWW-Authenticate": 'Bearer realm="clawstead"'}


class NotFoundError(ApiError):
    """There is nothing at this address."""

    slug = "not-found"
    status = HTTPStatus.NOT_FOUND
    title = "There is nothing here"


class InstanceNotFoundError(ApiError):
    """No living instance of the caller has this id."""

    slug = "instance-not-found"
    status = HTTPStatus.NOT_FOUND
    title = "There is no such instance"

    def __init__(self) -> None:
        super().__init__("no instance of yours has this id")


class SubdomainTakenError(ApiError):
    """Another instance has the subdomain, or had it and visitors would still be sent there."""

    slug = "subdomain-taken"
    status = HTTPStatus.CONFLICT
    title = "The subdomain is taken"

    def __init__(self, *, leaving: bool) -> None:
        detail = "another instance has this subdomain"
        if leaving:
            detail = "a deleted instance's route still has this subdomain; try again in a moment"
        super().__init__(detail, errors=(FieldError("subdomain", detail),))


class CommandRefusedError(ApiError):
    """The instance is in a state in which the command makes no sense."""

    slug = "command-refused"
    status = HTTPStatus.CONFLICT
    title = "Not possible in this state"


class NotRunningError(ApiError):
    """The instance has to run for this."""

    slug = "instance-not-running"
    status = HTTPStatus.CONFLICT
    title = "The instance is not running"


class BodyTooLargeError(ApiError):
    """The body is larger than any valid request."""

    slug = "body-too-large"
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    title = "The body is too large"


class IdempotencyKeyReusedError(ApiError):
    """The key was used for another request within the last day."""

    slug = "idempotency-key-reused"
    status = HTTPStatus.UNPROCESSABLE_ENTITY
    title = "The idempotency key belongs to another request"

    def __init__(self) -> None:
        detail = "this key was used for a different request"
        super().__init__(detail, errors=(FieldError("Idempotency-Key", detail),))


class HostFullError(ApiError):
    """The host has no room for what would run more."""

    slug = "host-full"
    status = HTTPStatus.TOO_MANY_REQUESTS
    title = "The host is full"

    def __init__(self, lacking: str) -> None:
        super().__init__(f"the host has no room left for this ({lacking}); nothing was changed")

    @property
    def headers(self) -> dict[str, str]:
        """When to try again: room comes as fast as owners stop and delete, so not at once."""
        return {"Retry-After": "30"}


class TooManyFailuresError(ApiError):
    """Too many tokens that are nobody's came from one address."""

    slug = "too-many-failures"
    status = HTTPStatus.TOO_MANY_REQUESTS
    title = "Too many wrong tokens"

    def __init__(self, seconds: int) -> None:
        super().__init__("too many tokens that are unknown or revoked came from your address")
        self._seconds = seconds

    @property
    def headers(self) -> dict[str, str]:
        """When another token is looked at."""
        return {"Retry-After": str(self._seconds)}


class UnavailableError(ApiError):
    """Something we depend on does not answer; nothing was changed. ``seconds`` is when to try again."""

    slug = "unavailable"
    status = HTTPStatus.SERVICE_UNAVAILABLE
    title = "Not available right now"
    seconds: ClassVar[int] = 2

    @property
    def headers(self) -> dict[str, str]:
        """When to try again."""
        return {"Retry-After": str(self.seconds)}


class DatabaseUnavailableError(UnavailableError):
    """The database does not answer, or another process holds it."""

    slug = "database-unavailable"

    def __init__(self, reason: str) -> None:
        super().__init__("the database is busy or not reachable; nothing was changed")
        self.reason = reason


class SealingKeyUnknownError(UnavailableError):
    """The key to seal secrets with has never been seen."""

    slug = "sealing-key-unknown"

    def __init__(self) -> None:
        super().__init__("secrets cannot be sealed yet: the provisioner has never been seen on the bus")


class LogsUnavailableError(UnavailableError):
    """Nobody can read the output of the instance's container now."""

    slug = "logs-unavailable"
    seconds = 5

    def __init__(self, reason: str) -> None:
        super().__init__(f"the instance's log cannot be read now: {reason}")


class TooManyStreamsError(UnavailableError):
    """More clients hold event streams open than this process serves."""

    slug = "too-many-streams"
    seconds = 10

    def __init__(self) -> None:
        super().__init__("too many event streams are open")
