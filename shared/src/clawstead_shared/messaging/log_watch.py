"""Noticing that the log is not the one that was known: it was lost and declared anew, or a power loss cut it short."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import nats.js.errors
import structlog
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from prometheus_client import Counter

from clawstead_shared.errors import StreamsMissingError, TransientError
from clawstead_shared.streams import STATE_STREAM

log = structlog.get_logger()

RENEWALS = Counter("clawstead_log_renewals_total", "How often the log was not the one that was known before")


@dataclass(frozen=True, slots=True)
class LogMark:
    """What tells one log from another: when it was declared, and how far it had come."""

    created: datetime
    last_sequence: int

    def continued_by(self, later: "LogMark") -> bool:
        """Say whether ``later`` is the same log at a later time."""
        return self.created == later.created and self.last_sequence <= later.last_sequence


class LogWatch:
    """Looks at the state stream now and then, and has what was lost with it said again."""

    def __init__(
        self, jetstream: Callable[[], JetStreamContext], *, interval: timedelta = timedelta(seconds=2)
    ) -> None:
        self._jetstream = jetstream
        self._interval = interval.total_seconds()
        self._known: LogMark | None = None

    @property
    def begun(self) -> datetime | None:
        """When the log that is known was declared (UTC), None before the first look."""
        return self._known.created if self._known else None

    async def look(self) -> bool:
        """Look at the log; return whether it is another one than at the last look.

        Raises:
            TransientError: the bus did not answer, or there is no log.
        """
        mark = await self._mark()
        known, self._known = self._known, mark
        return known is not None and not known.continued_by(mark)

    async def run(self, on_renewed: Callable[[], Awaitable[None]]) -> None:
        """Call ``on_renewed`` whenever the log is another one, again until it succeeds; for ever."""
        renewed = False
        while True:
            await asyncio.sleep(self._interval)
            try:
                if await self.look():
                    renewed = True
                    RENEWALS.inc()
                    log.warning("the log is not the one that was known: what was lost with it is said again")
                if renewed:
                    await on_renewed()
                    renewed = False
            except (TransientError, StreamsMissingError) as error:
                log.debug("the log was not looked at", error=str(error))

    async def _mark(self) -> LogMark:
        try:
            info = await self._jetstream().stream_info(STATE_STREAM)
        except nats.js.errors.NotFoundError as missing:
            raise TransientError("the streams are not declared") from missing
        except (NatsError, TimeoutError, OSError) as error:
            raise TransientError(f"log: bus did not answer ({type(error).__name__})") from error
        if info.created is None:
            raise TransientError("the bus does not say when the log was declared")
        return LogMark(info.created, info.state.last_seq)
