"""What proxy-sync does about events."""

from collections.abc import Sequence

from clawstead_proxy_sync.reconcile import RouteKeeper
from clawstead_shared.control import Effect
from clawstead_shared.events import Event, Observed, Payload


async def on_observed(event: Event[Observed], *, keeper: RouteKeeper) -> None:
    """An instance changed: follow its newest observation, which may be newer than this one.

    Raises:
        UnroutableError: its name or address must not reach the table.
        TransientError: bus or edge did not do their part now.
    """
    await keeper.refresh(event.instance_id, hint=event)


async def foresee(events: Sequence[Event[Payload]], *, keeper: RouteKeeper) -> list[Effect]:
    """Say what handling ``events`` would change now, and change nothing.

    Raises:
        TransientError: the bus did not answer.
    """
    names = sorted({event.instance_id for event in events})
    return [effect for name in names for effect in await keeper.foresee(name)]
