"""What an operator may ask of a running service, as requests over the bus that are answered and not stored.

The state of the world travels in events alone; these requests only ask a service to look at the log again.
"""

from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from clawstead_shared.ids import InstanceId

MAX_PAGE = 1000
"""The most events that one request of a replay may cover."""
MAX_LOG_LINES = 1000
"""The most lines that one request for an instance's log may ask for."""


class Verb(StrEnum):
    """What can be asked for."""

    REPLAY = "replay"
    REDRIVE = "redrive"
    REBUILD = "rebuild"
    RESYNC = "resync"
    LOGS = "logs"
    CERTIFICATE = "certificate"


class Message(BaseModel):
    """Base of requests and answers: frozen, and open to fields of newer versions."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Refusal(Message):
    """The answer instead of a result."""

    error: str
    hint: str | None = None


class ReplayRequest(Message):
    """Handle a page of the log again, or with ``dry_run`` only say what that would do."""

    start: int = Field(ge=1)
    """First sequence, inclusive."""
    up_to: int = Field(ge=1)
    """Last sequence, inclusive: what is written after the replay began reaches the service anyway."""
    instance_id: InstanceId | None = None
    limit: int = Field(default=MAX_PAGE, ge=1, le=MAX_PAGE)
    dry_run: bool = False


class Effect(Message):
    """One thing that handling would do to the world outside the service."""

    instance_id: str
    action: str
    """A short word, such as ``restart container``, ``change route``, ``add history row``."""
    detail: str = ""


class Failure(Message):
    """An event that could not be handled."""

    sequence: int
    error: str


class ReplayReport(Message):
    """What became of one page. ``next`` is where the next page starts, None at the end."""

    next: int | None
    read: int
    """Events of the page."""
    handled: int
    """Events that are taken care of; one look at an instance takes care of all its events."""
    failures: tuple[Failure, ...] = ()
    effects: tuple[Effect, ...] = ()
    """What would be done; only of a dry run."""


class RedriveRequest(Message):
    """Handle one message again that was set aside."""

    subject: str
    headers: dict[str, str]
    body: str
    """Base64."""
    sequence: int
    """Where it was in the log."""


class RebuildReport(Message):
    """A projection was dropped and made again from the log. Digests are SHA-256 (hex) of its canonical form."""

    before: str
    after: str
    entries: int
    seconds: float


class ResyncReport(Message):
    """How many desired states were published again."""

    republished: int
    already_there: int


class LogsRequest(Message):
    """Read the newest lines that an instance's container wrote."""

    instance_id: InstanceId
    container_id: str | None = None
    """The container that the asker knows of; None leaves it to the service."""
    tail: int = Field(default=100, ge=1, le=MAX_LOG_LINES)


class LogLine(Message):
    """One line. ``time`` is when the engine took it, None if it does not say."""

    time: AwareDatetime | None = None
    stream: Literal["stdout", "stderr"] = "stdout"
    text: str


class InstanceLogs(Message):
    """The newest lines, oldest first; ``truncated`` says that lines were cut or left out to keep the answer small."""

    lines: tuple[LogLine, ...] = ()
    truncated: bool = False


class CertificateRequest(Message):
    """Tell of the edge's certificate, or get one: ``issue`` a first or changed one, ``renew`` one that is due.

    With ``dry_run`` the authority's staging directory is asked, and nothing that is served changes.
    """

    action: Literal["status", "issue", "renew"] = "status"
    dry_run: bool = False
    force: bool = False
    """Renew although it is not due."""


class CertificateFailure(Message):
    """Why the last attempt came to nothing. ``reason`` is a stable code, ``hint`` says what to do."""

    reason: str
    message: str
    hint: str
    at: AwareDatetime
    retry_at: AwareDatetime | None = None
    """When it is tried again by itself."""


class CertificateReport(Message):
    """The certificate that visitors get, and what is known of the next. ``serial`` in hex digits."""

    source: str
    """``local``, ``cloudflare``, ``rfc2136`` or ``manual``."""
    authority: str | None = None
    """URL of the ACME directory; None for the local authority."""
    names: tuple[str, ...] = ()
    issuer: str | None = None
    serial: str | None = None
    not_before: AwareDatetime | None = None
    not_after: AwareDatetime | None = None
    served: bool = False
    """Whether a visitor was just given this very certificate."""
    changed: bool = False
    """Whether this request replaced it."""
    next_check_at: AwareDatetime | None = None
    failure: CertificateFailure | None = None
    """The last attempt's, None after a success."""
