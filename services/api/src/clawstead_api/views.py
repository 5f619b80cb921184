"""What clients see of instances and events: functions from rows, and the present time, to response models."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from clawstead_api.stall import stall_of
from clawstead_api.tables import Event as EventRow
from clawstead_api.tables import Instance, Status
from clawstead_shared.events import (
    Channel,
    Desired,
    DesiredState,
    Event,
    EventType,
    ExitCause,
    Health,
    ImageVersion,
    Observed,
    Payload,
    Phase,
    Progress,
    Provider,
    Reason,
    RejectedImage,
    Route,
    SessionEnd,
    Terminal,
    Verdict,
    Warning,
)
from clawstead_shared.settings import EdgeSettings
from clawstead_shared.subjects import Topic


class View(BaseModel):
    """Base of all responses."""

    model_config = ConfigDict(use_attribute_docstrings=True, frozen=True)


class HealthView(View):
    """What the health monitor says of an instance."""

    verdict: Verdict
    since: datetime
    failures: int
    """Consecutive failed probes."""
    response_ms: float | None
    error: str | None


class InstanceView(View):
    """One instance: what its owner wants, and how far it is."""

    id: str
    name: str
    plan: str
    phase: Phase
    """As last observed; it follows ``generation`` once ``observed_generation`` has caught up."""
    desired_state: DesiredState
    generation: int
    """Grows by one with every accepted change."""
    observed_generation: int | None
    """Newest generation that has been carried out or is under way, null before the first observation."""
    url: str
    subdomain: str
    image: str
    """As it was asked for last."""
    image_revision: int = 0
    """Counts the updates that were asked for."""
    running_image: ImageVersion | None = None
    """What the container was made from; an update is under way until its revision is ``image_revision``."""
    rejected_image: RejectedImage | None = None
    """What the last update tried in vain; the instance went back to ``running_image``."""
    channel: Channel | None
    ai_provider: Provider | None
    reason: Reason | None
    """Why the instance is in its phase, for machines."""
    message: str | None
    """The same for people."""
    progress: Progress | None
    warnings: list[Warning] = []
    """What to look after although the instance works."""
    stalled: bool = False
    """Whether it has been on its way for longer than it should."""
    stalled_hint: str | None = None
    """What it waits for, and what to do."""
    exit: ExitCause | None
    """How the container last ended."""
    restart_count: int
    """Restarts that nobody asked for."""
    health: HealthView | None
    route_active: bool
    """Whether ``url`` reaches the gateway right now."""
    created_at: datetime
    updated_at: datetime
    """Time of the newest change or event."""


class InstanceDetail(InstanceView):
    """One instance with what only its owner may see."""

    gateway_token: str | None
    """The token that the Control UI asks for."""
    port: int | None
    """Loopback port of the gateway on its host."""


class InstancePage(View):
    """Some instances, newest first."""

    items: list[InstanceView]
    next_cursor: str | None
    """Pass it as ``cursor`` for the next page; null on the last one."""


class EventView(View):
    """One event of an instance; fields that its topic does not have are absent."""

    id: str
    sequence: int
    """Position in the platform's log: the ``id`` of the server-sent event, and what ``Last-Event-ID`` names."""
    instance_id: str
    topic: Topic
    type: EventType
    time: datetime
    generation: int | None = None
    desired_state: DesiredState | None = None
    plan: str | None = None
    actor: str | None = None
    request_id: str | None = None
    phase: Phase | None = None
    reason: Reason | None = None
    message: str | None = None
    progress: Progress | None = None
    image: ImageVersion | None = None
    rejected: RejectedImage | None = None
    warnings: list[Warning] | None = None
    exit: ExitCause | None = None
    restart_count: int | None = None
    hostname: str | None = None
    active: bool | None = None
    verdict: Verdict | None = None
    since: datetime | None = None
    failures: int | None = None
    response_ms: float | None = None
    error: str | None = None
    session_id: str | None = None
    remote: str | None = None
    opened_at: datetime | None = None
    open_sessions: int | None = None
    end: SessionEnd | None = None


class EventPage(View):
    """Some events, newest first."""

    items: list[EventView]
    next_before: int | None
    """Pass it as ``before`` for older events; null when there are none."""


class HealthHistory(View):
    """The present verdict on an instance and how it came about."""

    current: HealthView | None
    changes: list[EventView]
    """Newest first."""


# What owners may see of each topic; the rest (host, container id, secret references) stays inside.
_PUBLIC: Mapping[type[Payload], frozenset[str]] = {
    Desired: frozenset({"generation", "desired_state", "actor", "request_id"}),
    Observed: frozenset(
        {
            "generation",
            "phase",
            "reason",
            "message",
            "progress",
            "exit",
            "restart_count",
            "image",
            "rejected",
            "warnings",
        },
    ),
    Route: frozenset({"generation", "hostname", "active"}),
    Health: frozenset({"verdict", "since", "failures", "response_ms", "error"}),
    Terminal: frozenset({"session_id", "remote", "opened_at", "open_sessions", "end"}),
}


def public_data(event: Event[Payload]) -> dict[str, Any]:
    """Return what an owner may see of an event's data, as JSON."""
    data = event.data.model_dump(mode="json", include=set(_PUBLIC[type(event.data)]), exclude_none=True)
    if not data.get("warnings"):
        data.pop("warnings", None)
    if isinstance(event.data, Desired):
        data["plan"] = event.data.spec.plan
    return data


def event_view(row: EventRow) -> EventView:
    """Return what a client sees of an event."""
    return EventView(
        id=row.id,
        sequence=row.sequence,
        instance_id=row.instance_id,
        topic=Topic(row.topic),
        type=EventType(row.type),
        time=row.time,
        **row.data,
    )


def health_view(status: Status | None) -> HealthView | None:
    """Return the health of an instance, None before the first verdict."""
    if status is None or status.health is None:
        return None
    health = Health.model_validate(status.health, extra="ignore")
    return HealthView(
        verdict=health.verdict,
        since=health.since,
        failures=health.failures,
        response_ms=health.response_ms,
        error=health.error,
    )


def instance_view(instance: Instance, status: Status | None, edge: EdgeSettings) -> InstanceView:
    """Return what a client sees of an instance."""
    return InstanceView(**_fields(instance, status, edge))


def instance_detail(
    instance: Instance, status: Status | None, edge: EdgeSettings, *, gateway_token: str | None
) -> InstanceDetail:
    """Return what the owner of an instance sees of it."""
    observed = status.observation if status else None
    return InstanceDetail(
        **_fields(instance, status, edge), gateway_token=gateway_token, port=observed.port if observed else None
    )


def _fields(instance: Instance, status: Status | None, edge: EdgeSettings) -> dict[str, Any]:
    spec = instance.specification
    observed = status.observation if status else None
    seen = status.updated_at if status else None
    stall = stall_of(instance, status, datetime.now(UTC))
    return {
        "id": instance.id,
        "name": instance.name,
        "plan": instance.plan,
        "phase": observed.phase if observed else Phase.PENDING,
        "desired_state": instance.wanted,
        "generation": instance.generation,
        "observed_generation": observed.generation if observed else None,
        "url": edge.origin(instance.subdomain),
        "subdomain": instance.subdomain,
        "image": spec.image,
        "image_revision": spec.image_revision,
        "running_image": observed.image if observed else None,
        "rejected_image": observed.rejected if observed else None,
        "channel": spec.channel,
        "ai_provider": spec.provider,
        "reason": observed.reason if observed else None,
        "message": observed.message if observed else None,
        "progress": observed.progress if observed else None,
        "warnings": list(observed.warnings) if observed else [],
        "stalled": stall is not None,
        "stalled_hint": stall,
        "exit": observed.exit if observed else None,
        "restart_count": observed.restart_count if observed else 0,
        "health": health_view(status),
        "route_active": bool(status and status.route and status.route.get("active")),
        "created_at": instance.created_at,
        "updated_at": max(instance.updated_at, seen) if seen else instance.updated_at,
    }
