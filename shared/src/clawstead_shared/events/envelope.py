"""CloudEvents 1.0 in binary mode over NATS: ``ce-*`` headers around a JSON body (bus.md, cloudevents.io).

``Nats-Msg-Id`` equals ``ce-id``, so JetStream drops a repeated publish within its duplicate window. The W3C
trace context travels beside it in ``traceparent``, set by the telemetry middleware.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Generic, TypeVar

from pydantic import ValidationError

from clawstead_shared.events.desired import Desired
from clawstead_shared.events.health import Health
from clawstead_shared.events.observed import Observed, Phase, Reason
from clawstead_shared.events.payload import Payload
from clawstead_shared.events.route import Route
from clawstead_shared.events.terminal import Terminal
from clawstead_shared.ids import new_event_id
from clawstead_shared.subjects import Topic, parse_subject, subject_of

CONTENT_TYPE = "application/json"
SPEC_VERSION = "1.0"
MAX_EVENT_BYTES = 256 * 1024
"""The largest body: well above any real event, well below what NATS carries, so that a copy with more headers fits."""

PAYLOADS: dict[Topic, type[Payload]] = {
    Topic.DESIRED: Desired,
    Topic.OBSERVED: Observed,
    Topic.ROUTE: Route,
    Topic.HEALTH: Health,
    Topic.TERMINAL: Terminal,
}
_TOPICS = {payload: topic for topic, payload in PAYLOADS.items()}


class MalformedEventError(ValueError):
    """A message that is not one of our events: it can never be handled, only set aside."""


class EventType(StrEnum):
    """``ce-type``: past tense for facts, ``_requested`` for intent; it names the cause, the data the state."""

    CREATED = "clawstead.instance.created"
    RECONFIGURED = "clawstead.instance.reconfigured"
    START_REQUESTED = "clawstead.instance.start_requested"
    STOP_REQUESTED = "clawstead.instance.stop_requested"
    RESTART_REQUESTED = "clawstead.instance.restart_requested"
    UPDATE_REQUESTED = "clawstead.instance.update_requested"
    TOKEN_ROTATION_REQUESTED = "clawstead.instance.token_rotation_requested"  # noqa: S105 - a name
    DELETE_REQUESTED = "clawstead.instance.delete_requested"
    RESYNCED = "clawstead.instance.resynced"

    PROVISIONING_BEGUN = "clawstead.instance.provisioning_begun"
    START_BEGUN = "clawstead.instance.start_begun"
    READY = "clawstead.instance.ready"
    UPDATE_BEGUN = "clawstead.instance.update_begun"
    UPDATE_ROLLED_BACK = "clawstead.instance.update_rolled_back"
    PROGRESSED = "clawstead.instance.progressed"
    STOP_BEGUN = "clawstead.instance.stop_begun"
    STOPPED = "clawstead.instance.stopped"
    FAILED = "clawstead.instance.failed"
    DELETE_BEGUN = "clawstead.instance.delete_begun"
    REMOVED = "clawstead.instance.removed"

    ROUTE_CHANGED = "clawstead.route.changed"
    VERDICT_CHANGED = "clawstead.health.verdict_changed"
    SESSION_OPENED = "clawstead.terminal.session_opened"
    SESSION_CLOSED = "clawstead.terminal.session_closed"

    @classmethod
    def of(cls, observed: Observed) -> "EventType":
        """Return the type of an observation: what it tells about, else the phase that was reached."""
        if observed.progress is not None:
            return cls.PROGRESSED
        if observed.phase is Phase.UPDATING and observed.reason is Reason.UPDATE_ROLLED_BACK:
            return cls.UPDATE_ROLLED_BACK
        return _TYPE_OF_PHASE[observed.phase]

    @property
    def told_by_provisioner(self) -> bool:
        """Whether events of this type are observations."""
        return self in _OBSERVATIONS


_TYPE_OF_PHASE = {
    Phase.PROVISIONING: EventType.PROVISIONING_BEGUN,
    Phase.STARTING: EventType.START_BEGUN,
    Phase.RUNNING: EventType.READY,
    Phase.UPDATING: EventType.UPDATE_BEGUN,
    Phase.STOPPING: EventType.STOP_BEGUN,
    Phase.STOPPED: EventType.STOPPED,
    Phase.FAILED: EventType.FAILED,
    Phase.DELETING: EventType.DELETE_BEGUN,
    Phase.REMOVED: EventType.REMOVED,
}

_OBSERVATIONS = frozenset({*_TYPE_OF_PHASE.values(), EventType.PROGRESSED, EventType.UPDATE_ROLLED_BACK})

P_co = TypeVar("P_co", bound=Payload, covariant=True)


@dataclass(frozen=True, slots=True)
class Event(Generic[P_co]):
    """One event. ``sequence`` and ``traceparent`` are known only of events that were read from the stream.

    ``newest``: a consumer was handed it as soon as it was stored, and the log held no later event of its topics.
    """

    type: EventType
    source: str
    """Name of the service that wrote it."""
    data: P_co
    id: str = field(default_factory=new_event_id)
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    sequence: int | None = None
    traceparent: str | None = None
    newest: bool = False

    @property
    def topic(self) -> Topic:
        """The topic, given by the data."""
        return _TOPICS[type(self.data)]

    @property
    def instance_id(self) -> str:
        """The instance that the event is about."""
        return self.data.instance_id

    @property
    def subject(self) -> str:
        """The subject that the event is published on."""
        return subject_of(self.topic, self.instance_id)


def encode(event: Event[Payload]) -> tuple[dict[str, str], bytes]:
    """Return the headers and body of ``event``.

    Raises:
        MalformedEventError: it is too large; no consumer would take it.
    """
    body = event.data.model_dump_json().encode()
    _require_size(body)
    headers = {
        "ce-specversion": SPEC_VERSION,
        "ce-id": event.id,
        "ce-type": event.type,
        "ce-source": f"/clawstead/{event.source}",
        "ce-time": event.time.isoformat(),
        "ce-subject": event.instance_id,
        "content-type": CONTENT_TYPE,
        "Nats-Msg-Id": event.id,
    }
    return headers, body


def decode(
    subject: str,
    headers: Mapping[str, str] | None,
    body: bytes,
    *,
    sequence: int | None = None,
    newest: bool = False,
) -> Event[Payload]:
    """Read one message of the state stream.

    Raises:
        MalformedEventError: subject, headers or body break the contract, or the body is about another instance.
    """
    headers = headers or {}
    _require_size(body)
    try:
        topic, instance_id = parse_subject(subject)
        _require_version(headers)
        data = PAYLOADS[topic].read(body)
        event = Event(
            type=EventType(headers["ce-type"]),
            source=headers["ce-source"].rpartition("/")[2],
            data=data,
            id=headers["ce-id"],
            time=datetime.fromisoformat(headers["ce-time"]),
            sequence=sequence,
            traceparent=headers.get("traceparent"),
            newest=newest,
        )
    except KeyError as missing:
        raise MalformedEventError(f"header {missing} is missing") from missing
    except ValidationError as invalid:
        raise MalformedEventError(_first_error(invalid)) from invalid
    except ValueError as invalid:
        raise MalformedEventError(str(invalid)) from invalid
    if data.instance_id != instance_id:
        raise MalformedEventError(f"body is about {data.instance_id}, subject about {instance_id}")
    return event


def _require_size(body: bytes) -> None:
    if len(body) > MAX_EVENT_BYTES:
        raise MalformedEventError(f"the body has {len(body)} bytes, at most {MAX_EVENT_BYTES} are allowed")


def _require_version(headers: Mapping[str, str]) -> None:
    # Absent in none of our events, but a version that is not there is not an unknown one either.
    version = headers.get("ce-specversion", SPEC_VERSION)
    if "ce-dataschema" in headers:
        raise MalformedEventError(f"data schema {headers['ce-dataschema']!r} is not known: events of v1 name none")
    if version != SPEC_VERSION:
        raise MalformedEventError(f"CloudEvents version {version!r} is not known")
    content_type = headers.get("content-type", CONTENT_TYPE)
    if content_type.partition(";")[0].strip().lower() != CONTENT_TYPE:
        raise MalformedEventError(f"content type {content_type!r} is not known")


def _first_error(invalid: ValidationError) -> str:
    # The offending input is left out on purpose: it may hold what must not be logged.
    error = invalid.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, error['loc'])) or 'body'}: {error['msg']}"
