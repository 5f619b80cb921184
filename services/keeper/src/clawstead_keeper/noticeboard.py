"""Telling operators: a log line and a count at once, and a notice in the advisory stream as soon as it takes one."""

import asyncio
from collections import deque

import structlog
from prometheus_client import Counter

from clawstead_keeper.ports import Bus
from clawstead_keeper.rounds import honour_cancellation
from clawstead_shared.errors import TransientError
from clawstead_shared.notices import Notice

log = structlog.get_logger()

_MAX_WAITING = 1000
_RETRY_SECONDS = 1.0

NOTICES = Counter("clawstead_keeper_notices_total", "Notices given", ["kind"])
DROPPED = Counter("clawstead_keeper_notices_dropped_total", "Notices that were only logged: too many waited")


class StoredNotices:
    """Keeps ``Noticeboard``. While the bus is away the newest thousand notices wait; older ones are only logged."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: deque[Notice] = deque()
        self._woken = asyncio.Event()

    def tell(self, notice: Notice) -> None:
        """See ``Noticeboard.tell``."""
        log.warning("notice", kind=notice.kind, about=notice.about, message=notice.message)
        NOTICES.labels(notice.kind).inc()
        if len(self._waiting) == _MAX_WAITING:
            self._waiting.popleft()
            DROPPED.inc()
        self._waiting.append(notice)
        self._woken.set()

    @property
    def waiting(self) -> int:
        """How many notices are not stored yet."""
        return len(self._waiting)

    async def run(self) -> None:
        """Store what was told, in order, for ever."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._waiting:
                try:
                    await self.store_one()
                except TransientError as error:
                    log.warning("notice waits", error=str(error))
                    await asyncio.sleep(_RETRY_SECONDS)
                honour_cancellation()

    async def store_one(self) -> None:
        """Store the oldest notice that waits.

        Raises:
            TransientError: the bus did not confirm; it goes on waiting.
        """
        notice = self._waiting[0]
        await self._bus.publish(notice)
        if self._waiting and self._waiting[0] is notice:  # it may have been dropped for a newer one meanwhile
            self._waiting.popleft()
