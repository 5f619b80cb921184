"""What proxy-sync does about events."""

from clawstead_proxy_sync.reconcile import RouteKeeper
from clawstead_shared.events import Event, Observed


async def on_observed(event: Event[Observed], *, keeper: RouteKeeper) -> None:
    """An instance changed: follow its newest observation, which may be newer than this one.

    Raises:
        UnroutableError: its name or address must not reach the table.
        TransientError: bus or edge did not do their part now.
    """
    await keeper.refresh(event.instance_id, hint=event)
