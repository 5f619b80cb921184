"""Composition root: the bus looked at in rounds; what is wrong is repaired, counted, told."""

import asyncio
from typing import TYPE_CHECKING

from clawstead_keeper.adapters.advisories import acknowledging
from clawstead_keeper.adapters.nats_bus import NatsBus
from clawstead_keeper.dead_letters import DeadLetters
from clawstead_keeper.exhausted import Exhausted
from clawstead_keeper.gap_watch import GapWatch
from clawstead_keeper.levels import Levels
from clawstead_keeper.repairs import Repairs
from clawstead_keeper.rounds import attempt, for_ever
from clawstead_keeper.settings import KeeperSettings
from clawstead_shared.messaging.noticeboard import StoredNotices
from clawstead_shared.streams import KEEPER

if TYPE_CHECKING:
    from clawstead_shared.service import Service


async def run(service: "Service", settings: KeeperSettings) -> None:
    """Keep the bus until cancelled."""
    bus = NatsBus(service.bus)
    notices = StoredNotices(bus.publish)
    repairs = Repairs(bus, notices)
    levels = Levels(bus, notices, lag_limit=settings.keeper_lag_limit)
    dead_letters = DeadLetters(bus, notices, pause=settings.keeper_dead_letter_pause)
    gaps = GapWatch(bus, notices, grace=settings.keeper_gap_grace)
    every = settings.keeper_interval
    service.bus.consume_raw(KEEPER, acknowledging(Exhausted(bus).on_advisory))
    # The keeper declares what it waits for itself.
    await service.bus.connect(lambda problem: service.readiness.unmet("bus", problem))
    while not await attempt("repairs", repairs.round):  # noqa: ASYNC110 - nobody else would say when
        await asyncio.sleep(every.total_seconds())
    await service.connect()
    await service.run(
        notices.run(),
        for_ever("repairs", repairs.round, bus, every=every),
        for_ever("levels", levels.round, bus, every=every),
        for_ever("dead letters", dead_letters.round, bus, every=every),
        for_ever("gaps", gaps.round, bus, every=every),
    )
