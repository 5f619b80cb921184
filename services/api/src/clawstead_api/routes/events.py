"""What happened and what happens: history as JSON, the live feed as server-sent events."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from pydantic import AwareDatetime
from sse_starlette import EventSourceResponse, ServerSentEvent

from clawstead_api import history
from clawstead_api.errors import DatabaseUnavailableError
from clawstead_api.feed import Feed, Interest
from clawstead_api.routes.access import AtDesk, ByCaller, InstanceId, OnFeed, bearer, problems
from clawstead_api.views import EventPage, HealthHistory

router = APIRouter(tags=["events"], dependencies=[bearer])

KEEP_ALIVE_SECONDS = 15
CUT_AFTER_SECONDS = 30
"""A client that takes nothing for this long is cut; it resumes with ``Last-Event-ID``."""
_MAX_SEQUENCE = 2**53

Limit = Annotated[int, Query(ge=1, le=500)]
Sequence = Annotated[int | None, Query(ge=1, le=_MAX_SEQUENCE)]
LastEventId = Annotated[
    int | None,
    Header(alias="Last-Event-ID", ge=0, le=_MAX_SEQUENCE, description="Resume after the event with this id"),
]
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events; `id` is the sequence, `event` the topic, `data` an EventView",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@router.get(
    "/events",
    summary="Follow all your instances, from now on",
    response_class=EventSourceResponse,
    responses={**STREAM, **problems()},
)
async def follow_all(feed: OnFeed, caller: ByCaller, last_event_id: LastEventId = None) -> EventSourceResponse:
    return _stream(feed, Interest(caller.owner_id), last_event_id)


@router.get(
    "/instances/{instance_id}/events/stream",
    summary="Follow one instance, from its first event on",
    response_class=EventSourceResponse,
    responses={**STREAM, **problems(404)},
)
async def follow_instance(
    instance_id: InstanceId, desk: AtDesk, feed: OnFeed, caller: ByCaller, last_event_id: LastEventId = None
) -> EventSourceResponse:
    await history.require_instance(desk, caller, instance_id)
    return _stream(feed, Interest(caller.owner_id, instance_id), last_event_id or 0)


@router.get(
    "/instances/{instance_id}/events",
    summary="Show what happened to an instance, newest first",
    response_model_exclude_none=True,
    responses=problems(404),
)
async def list_events(
    instance_id: InstanceId, desk: AtDesk, caller: ByCaller, limit: Limit = 100, before: Sequence = None
) -> EventPage:
    return await history.events(desk, caller, instance_id, limit=limit, before=before)


@router.get(
    "/instances/{instance_id}/health",
    summary="Show an instance's health and how it changed",
    response_model_exclude_none=True,
    responses=problems(404),
)
async def show_health(
    instance_id: InstanceId, desk: AtDesk, caller: ByCaller, since: AwareDatetime | None = None, limit: Limit = 100
) -> HealthHistory:
    return await history.health(desk, caller, instance_id, since=since, limit=limit)


def _stream(feed: Feed, interest: Interest, after: int | None) -> EventSourceResponse:
    feed.require_room()
    return EventSourceResponse(
        _messages(feed, interest, after), ping=KEEP_ALIVE_SECONDS, send_timeout=CUT_AFTER_SECONDS, sep="\n"
    )


async def _messages(feed: Feed, interest: Interest, after: int | None) -> AsyncIterator[ServerSentEvent]:
    try:
        # Closed at once when the client leaves, so that its place is free again.
        async with aclosing(feed.follow(interest, after)) as items:
            async for item in items:
                yield ServerSentEvent(item.json, event=item.topic, id=str(item.sequence))
    except DatabaseUnavailableError:
        return  # The client resumes where it was cut.
