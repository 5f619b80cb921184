"""The history, on SQLite and PostgreSQL alike."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from clawstead_health.adapters import history_sql
from clawstead_health.adapters.history_sql import SqlHistory, make_engine
from clawstead_health.ports import Check
from clawstead_health.verdict import ProbeResult
from clawstead_shared.ids import new_instance_id
from tests.support.postgres_server import PostgresServer

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path}/made/here/health.db"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    yield server.url()


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    engine = make_engine(url)
    yield engine
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE IF EXISTS instance_health"))
    await engine.dispose()


@pytest.fixture
async def history(engine: AsyncEngine) -> SqlHistory:
    history = SqlHistory(engine, retention=timedelta(days=7), max_rows=100)
    await history.create()
    return history


def check(at: datetime = NOW, error: str | None = None) -> Check:
    return Check(new_instance_id(), "owner-1", ProbeResult(None if error else 12.6, error), at)


async def rows(engine: AsyncEngine, columns: str = "*") -> list[tuple[object, ...]]:
    async with engine.connect() as connection:
        result = await connection.execute(text(f"SELECT {columns} FROM instance_health ORDER BY id"))
        return [tuple(row) for row in result]


async def test_checks_are_stored_as_the_table_says(history: SqlHistory, engine: AsyncEngine) -> None:
    for kept in (check(), check(error="connection refused")):
        history.record(kept)
    await history.flush()
    stored = await rows(engine, "customer_id, healthy, response_time, error")
    assert [(*row[:1], bool(row[1]), *row[2:]) for row in stored] == [
        ("owner-1", True, 13, None),
        ("owner-1", False, None, "connection refused"),
    ]


async def test_the_table_and_its_indexes_are_those_of_the_seed(history: SqlHistory, engine: AsyncEngine) -> None:
    def read(connection: object) -> tuple[list[str], dict[str, list[str]], set[str]]:
        inspector = inspect(connection)
        columns = inspector.get_columns("instance_health")
        indexes = {index["name"]: index["column_names"] for index in inspector.get_indexes("instance_health")}
        return [column["name"] for column in columns], indexes, {c["name"] for c in columns if c["nullable"]}

    async with engine.connect() as connection:
        names, indexes, nullable = await connection.run_sync(read)
    assert names == ["id", "customer_id", "healthy", "response_time", "error", "checked_at", "instance_id"]
    assert indexes == {"idx_instance_health_customer": ["customer_id"], "idx_instance_health_time": ["checked_at"]}
    assert nullable == {"response_time", "error"}


async def test_making_the_table_again_keeps_what_is_in_it(history: SqlHistory, engine: AsyncEngine) -> None:
    history.record(check())
    await history.flush()
    await history.create()
    assert len(await rows(engine)) == 1


async def test_old_rows_are_pruned_and_young_ones_kept(history: SqlHistory, engine: AsyncEngine) -> None:
    for age in (timedelta(days=8), timedelta(days=7, seconds=1), timedelta(days=6), timedelta(0)):
        history.record(check(NOW - age))
    await history.flush()
    assert await history.prune_once(NOW) == 2
    assert len(await rows(engine)) == 2


async def test_rows_beyond_the_limit_are_pruned_oldest_first(
    history: SqlHistory, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_sql, "_PRUNE_CHUNK", 40)
    for number in range(250):
        history.record(check(NOW + timedelta(seconds=number)))
    await history.flush()
    assert await history.prune_once(NOW) == 150
    left = await rows(engine, "id")
    assert len(left) == 100
    assert left[0][0] == 151


async def test_an_empty_table_is_pruned_without_harm(history: SqlHistory) -> None:
    assert await history.prune_once(NOW) == 0


async def test_what_cannot_be_stored_stays_queued_in_order_and_bounded(
    history: SqlHistory, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_sql, "QUEUED_MAX", 3)
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE instance_health"))
    for number in range(5):
        history.record(check(error=str(number)))
    with pytest.raises(SQLAlchemyError):
        await history.flush()
    await history.create()
    await history.flush()
    assert [row[0] for row in await rows(engine, "error")] == ["2", "3", "4"]


async def test_the_writer_waits_for_a_database_that_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_sql, "_RETRY_SECONDS", 0.02)
    engine = make_engine("postgresql+asyncpg://nobody@127.0.0.1:1/none")
    history = SqlHistory(engine, retention=timedelta(days=7), max_rows=100)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await history.write()
    await engine.dispose()
