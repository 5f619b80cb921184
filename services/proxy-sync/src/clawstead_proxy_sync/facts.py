"""What was told of routes: each fact once, on change only, and again as the same event until it is stored."""

from collections.abc import Set
from dataclasses import dataclass, field

import structlog

from clawstead_shared.events import Event, EventType, Route
from clawstead_shared.messaging import EventReader, EventSink
from clawstead_shared.subjects import Topic

SERVICE = "proxy-sync"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Told:
    """What a route was told to be. Not the event's own data, which is ten times as large, thousands of times."""

    generation: int
    hostname: str
    upstream: str | None
    active: bool
    map_generation: int = field(compare=False)

    @classmethod
    def of(cls, route: Route) -> "_Told":
        return cls(route.generation, route.hostname, route.upstream, route.active, route.map_generation)


class RouteFacts:
    """Topic ``route``."""

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        self._told: dict[str, _Told] = {}
        self._unconfirmed: dict[str, Event[Route]] = {}

    async def restore(self, events: EventReader) -> None:
        """Take over what was told last.

        Raises:
            TransientError: the bus did not answer.
        """
        told = events.each_newest(Topic.ROUTE)
        self._told = {it.instance_id: _Told.of(it.data) async for it in told if isinstance(it.data, Route)}

    def clear(self) -> None:
        """Forget what was told: the log that held it was lost."""
        self._told.clear()

    def are_news(self, route: Route) -> bool:
        """Say whether ``route`` is not what was told last; of an instance without a word, no route is no news."""
        told = self._told.get(route.instance_id)
        return route.active if told is None else told != _Told.of(route)

    def active_beyond(self, instances: Set[str]) -> list[Route]:
        """Return the active routes that were told of other instances than these."""
        return [_route(name, told) for name, told in self._told.items() if name not in instances and told.active]

    async def tell(self, route: Route) -> None:
        """Publish ``route`` if it is news.

        Raises:
            TransientError: the bus did not confirm; it may or may not be told.
        """
        if not self.are_news(route):
            return
        event = self._unconfirmed.get(route.instance_id)
        if event is None or _Told.of(event.data) != _Told.of(route):
            # A publish that was not confirmed is repeated as the same event, so that it is stored once.
            event = Event(EventType.ROUTE_CHANGED, SERVICE, route)
            self._unconfirmed[route.instance_id] = event
        await self._sink.publish(event)
        del self._unconfirmed[route.instance_id]
        self._told[route.instance_id] = _Told.of(event.data)
        log.info("route changed", instance_id=route.instance_id, hostname=route.hostname, active=route.active)


def _route(instance_id: str, told: _Told) -> Route:
    return Route(
        instance_id=instance_id,
        generation=told.generation,
        hostname=told.hostname,
        upstream=told.upstream,
        active=told.active,
        map_generation=told.map_generation,
    )
