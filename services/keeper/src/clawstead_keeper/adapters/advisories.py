"""From advisories, as NATS delivers them, to a handler of their bodies."""

from collections.abc import Awaitable, Callable

import structlog
from nats.aio.msg import Msg

from clawstead_shared.errors import TransientError

log = structlog.get_logger()

_RETRY_SECONDS = 5.0
_MAX_RETRY_SECONDS = 300.0


def acknowledging(handler: Callable[[bytes], Awaitable[None]]) -> Callable[[Msg], Awaitable[None]]:
    """Return what hands each message to ``handler``, and takes it as done unless it says to try again."""

    async def on_message(message: Msg) -> None:
        try:
            await handler(message.data)
        except TransientError as error:
            delay = min(_RETRY_SECONDS * message.metadata.num_delivered, _MAX_RETRY_SECONDS)
            log.warning("advisory will be looked at again", error=str(error), delay_seconds=delay)
            await message.nak(delay=delay)
        else:
            await message.ack()

    return on_message
