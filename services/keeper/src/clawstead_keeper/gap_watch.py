"""Following the log for gaps: what is new is read every few seconds, without a consumer."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import structlog
from prometheus_client import Counter, Gauge
from pydantic import ValidationError

from clawstead_keeper.gaps import Gap, Gaps
from clawstead_keeper.ports import Bus
from clawstead_shared.events import DesiredState, MalformedEventError, Phase
from clawstead_shared.messaging.log_watch import LogMark
from clawstead_shared.messaging.noticeboard import Noticeboard
from clawstead_shared.notices import Notice, NoticeKind
from clawstead_shared.streams import ADVISORY_STREAM, STATE_STREAM
from clawstead_shared.subjects import NOTICE_ROOT, Topic, all_of

log = structlog.get_logger()

_MAX_PAGES = 20
"""Pages read in one round: a long log is read in many, and judged when its end is reached."""
_MAX_NOTICES = 20
_MAX_REMEMBERED = 10_000

OPEN = Gauge("clawstead_gaps", "Gaps found in the events of living instances")
FOUND = Counter("clawstead_gaps_found_total", "Gaps found since the start, those found before a restart included")


class GapWatch:
    """Reads desired states and observations as they come, and tells of gaps, each once."""

    def __init__(self, bus: Bus, noticeboard: Noticeboard, *, grace: timedelta) -> None:
        self._bus = bus
        self._noticeboard = noticeboard
        self._grace = grace.total_seconds()
        self._told: set[tuple[str, str]] | None = None
        self._log: LogMark | None = None
        self._start_over()

    def _start_over(self) -> None:
        self._gaps = Gaps()
        self._next = {Topic.DESIRED: 1, Topic.OBSERVED: 1}

    async def round(self) -> None:
        """Read what is new, and judge it.

        Raises:
            TransientError: the bus did not answer; what was read before is known.
        """
        if self._told is None:
            self._told = await self._told_before()
        stream = await self._bus.stream(STATE_STREAM)
        if stream is None:
            return
        mark = LogMark(stream.created, stream.last_sequence)
        if self._log and not self._log.continued_by(mark):
            log.warning("the log is another one, it is read from its start")
            self._start_over()
        self._log = mark
        # Desired states first and up to the same place: then no observation can be ahead of what was not read yet.
        for topic, take in ((Topic.DESIRED, self._desired), (Topic.OBSERVED, self._observed)):
            if not await self._read(topic, take, up_to=stream.last_sequence):
                return
        self._tell(self._gaps.found(time.monotonic(), grace=self._grace))
        OPEN.set(self._gaps.open)

    async def _read(self, topic: Topic, take: Callable[[Any], None], *, up_to: int) -> bool:
        for _ in range(_MAX_PAGES):
            start = self._next[topic]
            if start > up_to:
                return True
            page = await self._bus.page(STATE_STREAM, all_of(topic), start=start, up_to=up_to)
            for stored in page.messages:
                try:
                    take(stored.event().data)
                except MalformedEventError:
                    continue  # its readers set it aside
            if not page.left or not page.messages:
                self._next[topic] = up_to + 1
                return True
            self._next[topic] = page.messages[-1].sequence + 1
        return False

    def _desired(self, desired: Any) -> None:
        deleted = desired.desired_state is DesiredState.DELETED
        self._gaps.desired(desired.instance_id, desired.generation, deleted=deleted)

    def _observed(self, observed: Any) -> None:
        self._gaps.observed(observed.instance_id, observed.generation, removed=observed.phase is Phase.REMOVED)

    async def _told_before(self) -> set[tuple[str, str]]:
        told: set[tuple[str, str]] = set()
        start, left = 1, 1
        while left and len(told) < _MAX_REMEMBERED:
            page = await self._bus.page(ADVISORY_STREAM, f"{NOTICE_ROOT}.{NoticeKind.GAP_FOUND}", start=start)
            for stored in page.messages:
                start = stored.sequence + 1
                try:
                    notice = Notice.model_validate_json(stored.body)
                except ValidationError:
                    continue
                told.add((notice.about, notice.message))
            left = page.left if page.messages else 0
        return told

    def _tell(self, gaps: list[Gap]) -> None:
        FOUND.inc(len(gaps))
        told = self._told or set()
        new = [gap for gap in gaps if (gap.instance_id, gap.message) not in told]
        for gap in new[:_MAX_NOTICES]:
            self._noticeboard.tell(Notice(kind=NoticeKind.GAP_FOUND, about=gap.instance_id, message=gap.message))
        if len(new) > _MAX_NOTICES:
            message = f"{len(new) - _MAX_NOTICES} more gaps were found at the same time, so events were lost"
            self._noticeboard.tell(Notice(kind=NoticeKind.GAP_FOUND, about=STATE_STREAM, message=message))
