"""What proxy-sync listens to."""

from functools import partial

from clawstead_proxy_sync.handlers import foresee, on_observed
from clawstead_proxy_sync.reconcile import RouteKeeper
from clawstead_shared.control import RebuildReport, Verb
from clawstead_shared.messaging import Bus
from clawstead_shared.streams import PROXY_SYNC
from clawstead_shared.subjects import Topic


def subscribe(bus: Bus, keeper: RouteKeeper) -> None:
    """Have observations followed, and operators answered."""
    bus.consume(PROXY_SYNC, {Topic.OBSERVED: partial(on_observed, keeper=keeper)}, plan=partial(foresee, keeper=keeper))

    async def rebuild(_: bytes) -> RebuildReport:
        return await keeper.rebuild()

    bus.control.answer(Verb.REBUILD, rebuild)
