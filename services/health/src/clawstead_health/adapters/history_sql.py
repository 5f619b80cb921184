"""The history in SQL: SQLite by default, PostgreSQL by setting, the same code.

The one table is made by ``create_all``, not by migrations: it only ever receives rows that nothing reads back
into a decision, so a change of its shape may start a new table.
"""

import asyncio
from collections import deque
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import Counter, Gauge
from sqlalchemy import delete, event, func, insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlmodel import SQLModel, col

from clawstead_health.ports import Check
from clawstead_health.tables import InstanceHealth

QUEUED_MAX = 50_000
_BATCH = 1000
_FLUSH_SECONDS = 1.0
_RETRY_SECONDS = 5.0
_PRUNE_SECONDS = 600.0
_PRUNE_CHUNK = 5000
_STATEMENT_SECONDS = 30.0

WRITTEN = Counter("clawstead_health_rows_written_total", "Rows of history stored")
DROPPED = Counter("clawstead_health_rows_dropped_total", "Rows of history dropped because storage lagged")
QUEUED = Gauge("clawstead_health_rows_queued", "Rows of history waiting for storage")

log = structlog.get_logger()


class SqlHistory:
    """Keeps the promises of ``History``: a bounded queue in memory, written in batches by ``write``."""

    def __init__(self, engine: AsyncEngine, *, retention: timedelta, max_rows: int) -> None:
        self._engine = engine
        self._retention = retention
        self._max_rows = max_rows
        self._queue: deque[Check] = deque()
        QUEUED.set_function(lambda: len(self._queue))

    def record(self, check: Check) -> None:
        """See ``History.record``."""
        if len(self._queue) >= QUEUED_MAX:
            self._queue.popleft()
            DROPPED.inc()
        self._queue.append(check)

    async def create(self) -> None:
        """Make the table if it is missing, trying until the database answers."""
        while True:
            try:
                async with asyncio.timeout(_STATEMENT_SECONDS), self._engine.begin() as connection:
                    await connection.run_sync(SQLModel.metadata.create_all)
            except (SQLAlchemyError, OSError) as error:
                log.warning("history is not reachable", error=type(error).__name__)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    async def write(self) -> None:
        """Make the table, then store what is queued, every second, until cancelled."""
        await self.create()
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            try:
                await self.flush()
            except (SQLAlchemyError, OSError) as error:
                log.warning("history not written, kept for later", error=type(error).__name__, rows=len(self._queue))
                await asyncio.sleep(_RETRY_SECONDS)

    async def flush(self) -> None:
        """Store all that is queued.

        Raises:
            SQLAlchemyError: the database refused or is gone; what was not stored is still queued.
            OSError: the same, or it did not answer in time.
        """
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
            try:
                async with asyncio.timeout(_STATEMENT_SECONDS), self._engine.begin() as connection:
                    await connection.execute(insert(InstanceHealth), [_row(check) for check in batch])
            except BaseException:
                self._queue.extendleft(reversed(batch))
                raise
            WRITTEN.inc(len(batch))

    async def prune(self) -> None:
        """Delete what is too old or too much, every ten minutes, until cancelled."""
        while True:
            await asyncio.sleep(_PRUNE_SECONDS)
            try:
                rows = await self.prune_once(datetime.now(UTC))
            except (SQLAlchemyError, OSError) as error:
                log.warning("history not pruned", error=type(error).__name__)
            else:
                log.debug("history pruned", rows=rows)

    async def prune_once(self, now: datetime) -> int:
        """Delete rows older than the retention, and the oldest beyond the row limit; return how many.

        Raises:
            SQLAlchemyError: the database refused or is gone.
            OSError: the same, or it did not answer in time.
        """
        oldest = (now - self._retention).astimezone(UTC).replace(tzinfo=None)
        async with self._engine.connect() as connection:
            newest_id = (await connection.execute(select(func.max(InstanceHealth.id)))).scalar() or 0
        last_surplus = newest_id - self._max_rows
        return await self._delete(col(InstanceHealth.checked_at) < oldest) + await self._delete(
            col(InstanceHealth.id) <= last_surplus
        )

    async def _delete(self, condition: Any) -> int:
        # In chunks: one long delete would lock out the writer.
        total = 0
        chosen = select(col(InstanceHealth.id)).where(condition).limit(_PRUNE_CHUNK)
        while True:
            async with asyncio.timeout(_STATEMENT_SECONDS), self._engine.begin() as connection:
                result = await connection.execute(delete(InstanceHealth).where(col(InstanceHealth.id).in_(chosen)))
            total += result.rowcount
            if result.rowcount < _PRUNE_CHUNK:
                return total


def make_engine(url: str) -> AsyncEngine:
    """Return an engine for ``url``; for SQLite, with the directory made and WAL on."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_async_engine(parsed, pool_size=2, max_overflow=0, pool_pre_ping=True)
    if parsed.database:
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    engine = create_async_engine(parsed)
    event.listen(engine.sync_engine, "connect", _configure_sqlite)
    return engine


def _configure_sqlite(connection: Any, _: Any) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _row(check: Check) -> dict[str, Any]:
    response_ms = check.result.response_ms
    return {
        "instance_id": check.instance_id,
        "customer_id": check.customer_id,
        "healthy": check.result.ok,
        "response_time": None if response_ms is None else round(response_ms),
        "error": check.result.error,
        "checked_at": check.checked_at.astimezone(UTC).replace(tzinfo=None),
    }
