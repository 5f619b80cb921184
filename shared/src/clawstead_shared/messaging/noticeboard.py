"""Telling operators: a log line and a count at once, and a notice in the advisory stream as soon as it takes one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog
from nats.js import JetStreamContext
from prometheus_client import Counter

from clawstead_shared.errors import TransientError
from clawstead_shared.messaging.faults import honour_cancellation, translated
from clawstead_shared.notices import Notice
from clawstead_shared.streams import ADVISORY_STREAM

log = structlog.get_logger()

_MAX_WAITING = 1000
_RETRY_SECONDS = 1.0
_PUBLISH_SECONDS = 5

NOTICES = Counter("clawstead_notices_total", "Notices given", ["kind"])
DROPPED = Counter("clawstead_notices_dropped_total", "Notices that were only logged: too many waited")


class Noticeboard(Protocol):
    """Where operators are told."""

    def tell(self, notice: Notice) -> None:
        """Log, count and store a notice. Never waits."""
        ...


class StoredNotices:
    """Keeps ``Noticeboard``. While the bus is away the newest thousand notices wait; older ones are only logged."""

    def __init__(self, store: Callable[[Notice], Awaitable[None]]) -> None:
        """``store`` keeps one notice, once however often it is called, or raises ``TransientError``."""
        self._store = store
        self._waiting: deque[Notice] = deque()
        self._woken = asyncio.Event()

    def tell(self, notice: Notice) -> None:
        """See ``Noticeboard.tell``."""
        log.warning("notice", kind=notice.kind, about=notice.about, message=notice.message, reason=notice.reason)
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
        await self._store(notice)
        if self._waiting and self._waiting[0] is notice:  # it may have been dropped for a newer one meanwhile
            self._waiting.popleft()


async def publish_notice(jetstream: JetStreamContext, notice: Notice) -> None:
    """Store a notice, once however often this is called.

    Raises:
        TransientError: the bus did not confirm.
    """
    with translated("giving notice"):
        await jetstream.publish(
            notice.subject,
            notice.model_dump_json().encode(),
            stream=ADVISORY_STREAM,
            headers={"Nats-Msg-Id": f"{notice.kind}:{notice.about}:{notice.at.isoformat()}"},
            timeout=_PUBLISH_SECONDS,
        )
