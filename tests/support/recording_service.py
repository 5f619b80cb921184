"""A service that takes everything in and remembers it, so that commands have somebody to ask."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from clawstead_shared.control import Effect
from clawstead_shared.events import Event, Payload
from clawstead_shared.messaging import Bus
from clawstead_shared.messaging.replay import Events
from clawstead_shared.settings import BusSettings
from clawstead_shared.streams import Consumer


class RecordingService:
    """Handles the events of one consumer, when it is asked to."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.seen: list[Event[Payload]] = []
        self.failure: Exception | None = None
        self.held_from = 10**9
        """Events from this sequence on wait until ``released``."""
        self.released = asyncio.Event()

    @asynccontextmanager
    async def running(self, nats_url: str) -> AsyncIterator[Bus]:
        """Answer requests, without consuming, while the block runs."""
        bus = Bus(self.consumer.durable, BusSettings(nats_url=nats_url))
        await bus.connect()
        bus.consume(self.consumer, dict.fromkeys(self.consumer.topics, self.handle), plan=self.plan)
        await bus.control.start(bus.broker.connection)
        try:
            yield bus
        finally:
            await bus.close()

    async def handle(self, event: Event[Payload]) -> None:
        if (event.sequence or 0) >= self.held_from:
            await self.released.wait()
        if self.failure:
            raise self.failure
        self.seen.append(event)

    async def plan(self, events: Events) -> list[Effect]:
        return [Effect(instance_id=event.instance_id, action="restart container") for event in events]
