"""Growth of the dead-letter stream: counted, and told once per step with who gave up and why."""

import time
from collections import Counter
from datetime import UTC, datetime, timedelta

from prometheus_client import Gauge

from clawstead_keeper.ports import Bus, StreamState
from clawstead_shared.messaging.log import Stored
from clawstead_shared.messaging.log_watch import LogMark
from clawstead_shared.messaging.noticeboard import Noticeboard
from clawstead_shared.notices import Notice, NoticeKind
from clawstead_shared.streams import DEAD_LETTER_STREAM
from clawstead_shared.subjects import DEAD_LETTER_ROOT

_REMEMBERED = timedelta(days=29)
"""Just within the age of the oldest notice that is kept: without one since then, nothing since then was told."""
_REASONS = 3
_MAX_REASONS = 100
_EVERY = f"{DEAD_LETTER_ROOT}.>"

LETTERS = Gauge("clawstead_dead_letters", "Messages set aside, not redriven or dropped yet", ["consumer"])


class DeadLetters:
    """Follows the dead-letter stream."""

    def __init__(self, bus: Bus, noticeboard: Noticeboard, *, pause: timedelta) -> None:
        """Collect what comes within ``pause`` into one step."""
        self._bus = bus
        self._noticeboard = noticeboard
        self._pause = pause.total_seconds()
        self._told_until: datetime | None = None
        self._next: int | datetime | None = None
        self._seen: StreamState | None = None
        self._reasons: dict[str, Counter[str]] = {}
        self._newest: datetime | None = None
        self._since = 0.0

    async def round(self) -> None:
        """Look once.

        Raises:
            TransientError: the bus did not answer.
        """
        stream = await self._bus.stream(DEAD_LETTER_STREAM)
        if stream and stream != self._seen:
            await self._count()
            await self._read(stream)
            self._seen = stream
        if self._reasons and time.monotonic() - self._since >= self._pause:
            self._tell()

    async def _count(self) -> None:
        counts = await self._bus.dead_letters()
        LETTERS.clear()
        for consumer, count in counts.items():
            LETTERS.labels(consumer).set(count)

    async def _read(self, stream: StreamState) -> None:
        if self._next is None:
            # What came while no keeper ran is told, what an earlier one told is not.
            self._told_until = await self._bus.newest_notice(NoticeKind.DEAD_LETTERS_GREW)
            self._next = self._told_until or datetime.now(UTC) - _REMEMBERED
        elif self._seen and not _mark(self._seen).continued_by(_mark(stream)):
            self._next = 1
        left = 1
        while left:
            page = await self._bus.page(DEAD_LETTER_STREAM, _EVERY, start=self._next)
            for stored in page.messages:
                self._take(stored)
                self._next = stored.sequence + 1
            left = page.left if page.messages else 0

    def _take(self, stored: Stored) -> None:
        if self._told_until and stored.stored_at <= self._told_until:
            return
        consumer = stored.headers.get("x-dlq-consumer", "unknown")
        reason = stored.headers.get("x-dlq-reason", "unknown")
        if not self._reasons:
            self._since = time.monotonic()
        reasons = self._reasons.setdefault(consumer, Counter())
        reasons[reason if reason in reasons or len(reasons) < _MAX_REASONS else "other reasons"] += 1
        self._newest = stored.stored_at

    def _tell(self) -> None:
        for consumer, reasons in sorted(self._reasons.items()):
            notice = Notice(
                kind=NoticeKind.DEAD_LETTERS_GREW,
                about=consumer,
                message=_growth(consumer, reasons),
                at=self._newest or datetime.now(UTC),
            )
            self._noticeboard.tell(notice)
        self._reasons = {}


def _mark(stream: StreamState) -> LogMark:
    return LogMark(stream.created, stream.last_sequence)


def _growth(consumer: str, reasons: Counter[str]) -> str:
    total = reasons.total()
    named = [f"{reason} ({count})" for reason, count in reasons.most_common(_REASONS)]
    if len(reasons) > _REASONS:
        named.append("and others")
    return f"{consumer} gave up {total} {'message' if total == 1 else 'messages'}: {'; '.join(named)}"
