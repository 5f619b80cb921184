"""Care for sessions from before their first program to after their last, across our own deaths.

A session is noted in the journal before it has a program, and forgotten only when none is left and its end is
published. What one gateway could not finish, a sweep finishes: its own next one, or that of its successor.
"""

import asyncio
from datetime import UTC, datetime

import structlog
from prometheus_client import Counter

from clawstead_shared.errors import TransientError
from clawstead_shared.events import SessionEnd
from clawstead_shared.messaging import EventSink
from clawstead_terminal.errors import EngineError
from clawstead_terminal.ports import Containers, SessionEntry, SessionJournal
from clawstead_terminal.records import SessionRecord
from clawstead_terminal.sessions import Outcome, Sessions

UNSETTLED = Counter("clawstead_terminal_unsettled_total", "Ends of sessions that a later sweep has to finish")
SWEPT = Counter("clawstead_terminal_swept_total", "Sessions that a sweep finished")

_SETTLED_AT_ONCE = 16
"""An exec costs the host some 50 ms of a core: when all clients leave at once, doing all at once helps nobody."""
_LOST = "gateway_lost"

log = structlog.get_logger()


class Custody:
    """Keeps the journal true."""

    def __init__(self, journal: SessionJournal, containers: Containers, sink: EventSink, sessions: Sessions) -> None:
        self._journal = journal
        self._containers = containers
        self._sink = sink
        self._sessions = sessions
        self._slots = asyncio.Semaphore(_SETTLED_AT_ONCE)

    def take(self, record: SessionRecord) -> SessionEntry:
        """Note a session, before its first program starts."""
        return self._journal.open(record)

    async def end(self, entry: SessionEntry, outcome: Outcome | None) -> None:
        """End what a session left and publish that it closed; None for one that never opened."""
        record = entry.record
        if outcome is not None:
            end = SessionEnd(ended_at=datetime.now(UTC), exit_code=outcome.exit_code, reason=outcome.reason)
            record = record.model_copy(update={"end": end})
            entry.update(record)
            log.info("session closed", session_id=record.session_id, reason=end.reason, exit_code=end.exit_code)
        await self._settle(entry, publish=outcome is not None)

    async def sweep(self) -> None:
        """Finish what earlier ends, and earlier gateways, left unfinished."""

        async def finish(entry: SessionEntry) -> None:
            if entry.record.end is None:
                end = SessionEnd(ended_at=datetime.now(UTC), reason=_LOST)
                entry.update(entry.record.model_copy(update={"end": end}))
            if await self._settle(entry, publish=True):
                SWEPT.inc()
                log.info("session swept", session_id=entry.record.session_id)

        async with asyncio.TaskGroup() as group:
            for entry in self._journal.left():
                group.create_task(finish(entry))

    async def _settle(self, entry: SessionEntry, *, publish: bool) -> bool:
        record = entry.record
        try:
            async with self._slots:
                await self._containers.reap(record.container_id, record.session_id)
            if publish:
                await self._sink.publish(record.event(self._sessions.count(record.instance_id)))
        except (EngineError, TransientError) as error:
            UNSETTLED.inc()
            log.warning("session not finished, a sweep will", session_id=record.session_id, error=str(error))
            entry.leave()
            return False
        entry.forget()
        return True
