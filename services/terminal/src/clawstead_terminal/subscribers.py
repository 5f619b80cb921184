"""News of instances, by a plain subscription: a hint that may be missed, since ``recheck`` looks again anyway.

No durable consumer: every gateway must hear of every instance, and one that was away has no sessions to end.
"""

from nats.aio.msg import Msg

from clawstead_shared.events import MalformedEventError, Observed, decode
from clawstead_shared.messaging import Bus, EventReader
from clawstead_shared.subjects import Topic, all_of
from clawstead_terminal.sessions import Sessions


async def watch_observations(bus: Bus, sessions: Sessions) -> None:
    """End sessions as soon as an observation says that their instance went away."""

    async def on_message(message: Msg) -> None:
        try:
            event = decode(message.subject, message.headers, message.data)
        except MalformedEventError:
            return
        if isinstance(event.data, Observed):
            sessions.on_observed(event.data)

    await bus.client.subscribe(all_of(Topic.OBSERVED), cb=on_message)


async def recheck(bus: EventReader, sessions: Sessions) -> None:
    """End sessions whose instance went away without our hearing of it.

    Raises:
        TransientError: the bus did not answer.
    """
    for instance_id in sessions.instances:
        event = await bus.newest(Topic.OBSERVED, instance_id)
        if event is not None and isinstance(event.data, Observed):
            sessions.on_observed(event.data)
