"""Noticing that the log is not the one that was known: it was lost and declared anew, or a power loss cut it short."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

import structlog
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from prometheus_client import Counter

from clawstead_shared.errors import StreamsMissingError, TransientError
from clawstead_shared.streams import STATE_STREAM

log = structlog.get_logger()

RENEWALS = Counter("clawstead_log_renewals_total", "How often the log was not the one that was known before")
_INTERVAL_SECONDS = 2.0


class LogWatch:
    """Looks at the state stream now and then, and has what was lost with it said again."""

    def __init__(self, jetstream: Callable[[], JetStreamContext]) -> None:
        self._jetstream = jetstream
        self.begun: datetime | None = None  # when the log that is known was declared (UTC)
        self._length = 0

    async def look(self) -> bool:
        """Look at the log; return whether it is another one than at the last look.

        Raises:
            TransientError: the bus did not answer, or there is no log.
        """
        try:
            info = await self._jetstream().stream_info(STATE_STREAM)
        except (NatsError, TimeoutError, OSError) as error:
            raise TransientError(f"log: bus did not answer ({type(error).__name__})") from error
        known, length = self.begun, self._length
        self.begun, self._length = info.created, info.state.last_seq
        return known is not None and (known != self.begun or self._length < length)

    async def run(self, on_renewed: Callable[[], Awaitable[None]]) -> None:
        """Call ``on_renewed`` whenever the log is another one, again until it succeeds; for ever."""
        renewed = False
        while True:
            await asyncio.sleep(_INTERVAL_SECONDS)
            try:
                renewed = await self.look() or renewed
                if renewed:
                    log.warning("the log is not the one that was known: what was lost with it is said again")
                    await on_renewed()
                    RENEWALS.inc()
                    renewed = False
            except (TransientError, StreamsMissingError) as error:
                log.debug("the log was not looked at", error=str(error))
