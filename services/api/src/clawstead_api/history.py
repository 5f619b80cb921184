"""What happened to an instance, as its owner may read it."""

from datetime import datetime

from clawstead_api import repository
from clawstead_api.desk import Caller, Desk
from clawstead_api.views import EventPage, HealthHistory, event_view, health_view
from clawstead_shared.subjects import Topic


async def require_instance(desk: Desk, caller: Caller, instance_id: str) -> None:
    """Check that the caller has such an instance.

    Raises:
        ApiError: there is none, or the database is away.
    """
    async with desk.database.read() as session:
        await repository.instance_for(session, caller.owner_id, instance_id)


async def events(desk: Desk, caller: Caller, instance_id: str, *, limit: int, before: int | None) -> EventPage:
    """Return a page of an instance's events, newest first.

    Raises:
        ApiError: there is no such instance, or the database is away.
    """
    async with desk.database.read() as session:
        await repository.instance_for(session, caller.owner_id, instance_id)
        rows = await repository.history_of(session, instance_id, limit=limit + 1, before=before)
    items = [event_view(row) for row in rows[:limit]]
    return EventPage(items=items, next_before=items[-1].sequence if len(rows) > limit else None)


async def health(desk: Desk, caller: Caller, instance_id: str, *, since: datetime | None, limit: int) -> HealthHistory:
    """Return the present verdict on an instance, and the changes since a time, newest first.

    Raises:
        ApiError: there is no such instance, or the database is away.
    """
    async with desk.database.read() as session:
        _, status = await repository.instance_for(session, caller.owner_id, instance_id)
        rows = await repository.history_of(session, instance_id, limit=limit, topic=Topic.HEALTH, since=since)
    return HealthHistory(current=health_view(status), changes=[event_view(row) for row in rows])
