"""What events change in the history and in the status of instances: worked out from the database, not yet done.

History: one row per event id; of progress only the newest of each generation. Status: what the newest event of
each topic says, whichever events are looked at; one that came before and is stored again is no news. So duplicates,
another order and replays end in the same rows.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from clawstead_api.tables import Event as EventRow
from clawstead_api.tables import Instance, Status
from clawstead_api.views import public_data
from clawstead_shared.control import Effect
from clawstead_shared.events import Desired, DesiredState, Event, EventType, Observed, Payload, Phase
from clawstead_shared.subjects import Topic

log = structlog.get_logger()

PROJECTED = (Topic.OBSERVED, Topic.ROUTE, Topic.HEALTH, Topic.TERMINAL)

_END = 2**63

Newest = Mapping[tuple[Topic, str], Event[Payload]]
"""The newest event of the log, by topic and instance."""


@dataclass(slots=True)
class Change:
    """What is to be written: columns of ``event``, and statuses that are the session's own, already changed."""

    added: list[dict[str, Any]] = field(default_factory=list)
    outdated: list[str] = field(default_factory=list)
    """Ids of rows with progress that is not the newest any more."""
    statuses: list[Status] = field(default_factory=list)
    removed: list[tuple[Instance, datetime]] = field(default_factory=list)

    def effects(self) -> list[Effect]:
        """Say it to an operator."""
        return [
            *(
                Effect(instance_id=row["instance_id"], action="add history row", detail=row["type"])
                for row in self.added
            ),
            *(
                Effect(instance_id=each.instance_id, action="change status", detail=each.phase)
                for each in self.statuses
            ),
            *(Effect(instance_id=each.id, action="record removal") for each, _ in self.removed),
        ]


async def changes(session: AsyncSession, events: Sequence[Event[Payload]], newest: Newest, offset: int) -> Change:
    """Return what ``events`` change, given what is newest of their topics; ``offset`` as of ``Numbering``."""
    change = Change()
    known = await _known(session, [event.id for event in (*events, *newest.values())])
    first: dict[str, Event[Payload]] = {}
    for event in events:
        first.setdefault(event.id, event)
    fresh = [event for event in first.values() if event.id not in known]
    change.outdated = await _thin(session, fresh, offset)
    owners = await owners_of(session, fresh)
    change.added = [row_of(event, owners, offset) for event in fresh]
    came = {event.id: offset + (event.sequence or 0) for event in first.values()} | known
    again = {event.id for event in newest.values() if came.get(event.id, _END) < offset + (event.sequence or 0)}
    instead = {(event.topic, event.instance_id): event for event in fresh}
    telling = [instead.get(key, event) if event.id in again else event for key, event in newest.items()]
    await _set_statuses(session, change, fresh, [event for event in telling if event.topic in PROJECTED], again)
    return change


def row_of(event: Event[Payload], owners: Mapping[str, str], offset: int) -> dict[str, Any]:
    """Return the columns of an event's history row."""
    owner = event.data.spec.owner_id if isinstance(event.data, Desired) else owners.get(event.instance_id)
    return {
        "id": event.id,
        "sequence": offset + (event.sequence or 0),
        "owner_id": owner,
        "instance_id": event.instance_id,
        "topic": event.topic.value,
        "type": event.type.value,
        "time": event.time,
        "data": public_data(event),
    }


async def owners_of(session: AsyncSession, events: Iterable[Event[Payload]]) -> dict[str, str]:
    """Return who owns the instances that ``events`` are about, as far as they are known."""
    ids = {event.instance_id for event in events if event.topic is not Topic.DESIRED}
    if not ids:
        return {}
    rows = await session.exec(select(Instance.id, Instance.owner_id).where(col(Instance.id).in_(ids)))
    return dict(rows.all())


def progress_of(event: Event[Payload]) -> tuple[str, int] | None:
    """Return whose progress an event tells, as instance and generation; None if it tells of none."""
    if event.type is not EventType.PROGRESSED or not isinstance(event.data, Observed):
        return None
    return event.instance_id, event.data.generation


async def _known(session: AsyncSession, ids: list[str]) -> dict[str, int]:
    """Return the numbers of the events of ``ids`` that are in the history."""
    return dict((await session.exec(select(EventRow.id, EventRow.sequence).where(col(EventRow.id).in_(ids)))).all())


async def _thin(session: AsyncSession, fresh: list[Event[Payload]], offset: int) -> list[str]:
    """Take progress that is not the newest out of ``fresh``, and return which stored rows of it are outdated."""
    latest: dict[tuple[str, int], tuple[int, str]] = {}
    for event in fresh:
        if of := progress_of(event):
            latest[of] = max(latest.get(of, (0, "")), (offset + (event.sequence or 0), event.id))
    if not latest:
        return []
    outdated = []
    ids = {instance_id for instance_id, _ in latest}
    statement = select(EventRow).where(col(EventRow.instance_id).in_(ids), EventRow.type == EventType.PROGRESSED)
    for row in (await session.exec(statement)).all():
        of = (row.instance_id, row.data.get("generation", 0))
        if of in latest and row.sequence > latest[of][0]:
            latest[of] = (row.sequence, row.id)
        elif of in latest:
            outdated.append(row.id)
    fresh[:] = [event for event in fresh if (of := progress_of(event)) is None or latest[of][1] == event.id]
    return outdated


async def _set_statuses(
    session: AsyncSession,
    change: Change,
    fresh: list[Event[Payload]],
    newest: list[Event[Payload]],
    again: Collection[str],
) -> None:
    """Have ``newest`` told by the statuses, but for those ``again``: they came before, and say what is over."""
    ids = {event.instance_id for event in newest}
    statuses = {row.instance_id: row for row in (await session.exec(_rows(Status, Status.instance_id, ids))).all()}
    observed: dict[str, list[Event[Payload]]] = {}
    for event in fresh:
        if event.topic is Topic.OBSERVED:
            observed.setdefault(event.instance_id, []).append(event)
    changed: dict[str, Status] = {}
    for event in newest:
        status = statuses.setdefault(event.instance_id, Status(instance_id=event.instance_id))
        if event.id in again and getattr(status, event.topic) is not None:
            continue
        if apply_newest(status, event, observed.get(event.instance_id, [])):
            changed[event.instance_id] = status
    change.statuses = list(changed.values())
    gone = {event.instance_id: event for event in newest if _tells_removal(event)}
    if gone:
        for instance in (await session.exec(_rows(Instance, Instance.id, gone).with_for_update())).all():
            if instance.removed_at is None and instance.wanted is DesiredState.DELETED:
                change.removed.append((instance, gone[instance.id].time))
            elif instance.removed_at is None:
                log.error("an instance that should live is reported removed", instance_id=instance.id)


def _rows(table: Any, key: Any, ids: Iterable[str]) -> Any:
    return select(table).where(col(key).in_(list(ids)))


def _tells_removal(event: Event[Payload]) -> bool:
    return isinstance(event.data, Observed) and event.data.phase is Phase.REMOVED


def apply_newest(status: Status, newest: Event[Payload], observed: Sequence[Event[Payload]]) -> bool:
    """Set what the newest event of a topic says; return whether that changed anything.

    ``observed`` are the events of topic ``observed`` that are taken in just now, in order.
    """
    before = _said(status, newest.topic)
    data: dict[str, Any] = newest.data.model_dump(mode="json")
    if isinstance(newest.data, Observed):
        status.phase = newest.data.phase.value
        begun = status.observed_at if status.observed == data else None
        status.observed_at = _since(begun, newest, observed)
    setattr(status, newest.topic, data)
    status.updated_at = max(newest.time, status.updated_at or newest.time)
    return _said(status, newest.topic) != before


def _said(status: Status, topic: Topic) -> tuple[Any, ...]:
    return status.phase, status.observed_at, status.updated_at, getattr(status, topic)


def _since(begun: datetime | None, newest: Event[Payload], observed: Sequence[Event[Payload]]) -> datetime:
    """Return since when it has been as ``newest`` says: saying the same again does not count.

    Handling may lag behind what is newest, so what was said in between may come to light later.
    """
    for event in observed:
        if event.data == newest.data:
            begun = min(begun or event.time, event.time)
        elif begun is not None and event.time > begun:
            begun = newest.time
    return begun or newest.time
