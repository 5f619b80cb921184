"""From the bus to the work queue. Whatever the event says, the newest desired state is what counts."""

import asyncio
from typing import Any

from clawstead_provisioner.crashpoints import Place, crashpoint
from clawstead_provisioner.work_queue import WorkQueue
from clawstead_shared.events import Event
from clawstead_shared.messaging import Handler


def on_desired(queue: WorkQueue) -> Handler:
    """Return the handler of topic ``desired``: done when the instance was brought as far as is possible now."""

    async def handle(event: Event[Any]) -> None:
        crashpoint(Place.EVENT_RECEIVED)
        # Shielded: others may wait for the same run.
        await asyncio.shield(queue.submit(event.instance_id))
        crashpoint(Place.EVENT_HANDLED)

    return handle
