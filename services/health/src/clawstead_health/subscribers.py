"""What the monitor listens to: observations, and the requests of operators."""

from clawstead_health.handlers import Monitor
from clawstead_shared.control import RebuildReport, Verb
from clawstead_shared.messaging import Bus
from clawstead_shared.streams import HEALTH
from clawstead_shared.subjects import Topic


def subscribe(bus: Bus, monitor: Monitor) -> None:
    """Have observations followed, and operators answered."""

    async def rebuild(_: bytes) -> RebuildReport:
        return await monitor.rebuild()

    bus.consume(HEALTH, {Topic.OBSERVED: monitor.on_observed}, plan=monitor.foresee)
    bus.control.answer(Verb.REBUILD, rebuild)
