"""Composition root: the bus looked at in rounds, what is wrong repaired or told."""

import asyncio
from typing import TYPE_CHECKING

from clawstead_keeper.adapters.nats_bus import NatsBus
from clawstead_keeper.noticeboard import StoredNotices
from clawstead_keeper.repairs import Repairs
from clawstead_keeper.rounds import attempt, for_ever
from clawstead_keeper.settings import KeeperSettings

if TYPE_CHECKING:
    from clawstead_shared.service import Service


async def run(service: "Service", settings: KeeperSettings) -> None:
    """Keep the bus until cancelled."""
    bus = NatsBus(service.bus)
    notices = StoredNotices(bus)
    repairs = Repairs(bus, notices)
    every = settings.keeper_interval
    # The keeper declares what it waits for itself.
    await service.bus.connect()
    while not await attempt("repairs", repairs.round):  # noqa: ASYNC110 - nobody else would say when
        await asyncio.sleep(every.total_seconds())
    await service.connect()
    await service.run(
        notices.run(),
        for_ever("repairs", repairs.round, bus, every=every),
    )
