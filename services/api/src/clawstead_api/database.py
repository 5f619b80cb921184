"""The database: short transactions, one writer on SQLite, and a clear error when it is not available.

SQLite: a transaction that reads before it writes fails at once with "database is locked" when another has
written meanwhile, whatever the timeout; so every writing one begins IMMEDIATE. Reading goes through
connections of its own, in autocommit, and never waits for a writer (WAL).
"""

import contextlib
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy.exc
from sqlalchemy import Connection, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from clawstead_api.errors import DatabaseUnavailableError

T = TypeVar("T")

_BUSY_SECONDS = 2.0
_POOL_SECONDS = 3.0
_READERS = 4
_POSTGRESQL_WRITERS = 8
_UNAVAILABLE_SQLITE = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN")
_UNAVAILABLE_SQLSTATE = ("08", "53", "57", "40", "55P03", "28")


class Database:
    """One database, SQLite or PostgreSQL by its URL."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite:
            _make_private(Path(parsed.database or ""))
            parsed = parsed.set(drivername="sqlite+aiosqlite")
            connect: dict[str, Any] = {"timeout": _BUSY_SECONDS}
        else:
            parsed = parsed.set(drivername="postgresql+asyncpg")
            connect = {
                "timeout": _POOL_SECONDS,
                "command_timeout": 10,
                "server_settings": {"application_name": "clawstead-api", "lock_timeout": "3000"},
            }
        options: dict[str, Any] = {
            "connect_args": connect,
            "max_overflow": 0,
            "pool_timeout": _POOL_SECONDS,
            "hide_parameters": True,  # an error that is logged must not show what was stored
        }
        writers = 1 if self.is_sqlite else _POSTGRESQL_WRITERS
        self._writer = create_async_engine(parsed, pool_size=writers, **options)
        self._reader = create_async_engine(
            parsed, pool_size=_READERS, isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True, **options
        )
        if self.is_sqlite:
            _tune_sqlite(self._writer, begin="BEGIN IMMEDIATE")
            _tune_sqlite(self._reader, begin=None)

    @contextlib.asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """Open a session for reading; each statement sees what is committed when it runs.

        Raises:
            DatabaseUnavailableError: the database did not answer.
        """
        with _translated():
            async with AsyncSession(self._reader, expire_on_commit=False, autoflush=False) as session:
                yield session

    @contextlib.asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """Open a writing transaction; it is committed when the block ends and rolled back when it raises.

        Raises:
            DatabaseUnavailableError: the database did not answer or another process holds it; nothing is written.
        """
        with _translated():
            async with AsyncSession(self._writer, expire_on_commit=False) as session, session.begin():
                yield session

    async def transact(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """Run ``work`` in a writing transaction, once more if a unique key was taken at the same moment.

        The second run reads what the other transaction committed, and decides on that.

        Raises:
            DatabaseUnavailableError: see ``write``.
        """
        with contextlib.suppress(sqlalchemy.exc.IntegrityError):
            async with self.write() as session:
                return await work(session)
        async with self.write() as session:
            return await work(session)

    async def require_reachable(self) -> None:
        """Check that the database answers.

        Raises:
            DatabaseUnavailableError: it does not.
        """
        async with self.read() as session:
            await (await session.connection()).execute(text("SELECT 1"))

    async def on_connection(self, work: Callable[[Connection], T]) -> T:
        """Run synchronous ``work`` on a writing connection, committed when it returns; for migrations.

        Raises:
            DatabaseUnavailableError: see ``write``.
        """
        with _translated():
            async with self._writer.begin() as connection:
                return await connection.run_sync(work)

    def advisory_lock(self, number: int) -> "AdvisoryLock":
        """Return the lock ``number``, held by at most one process; on SQLite by this one."""
        return AdvisoryLock(None if self.is_sqlite else self._reader, number)

    async def close(self) -> None:
        """Close all connections."""
        await self._writer.dispose()
        await self._reader.dispose()


class AdvisoryLock:
    """A lock that PostgreSQL keeps for as long as one connection lives."""

    def __init__(self, engine: AsyncEngine | None, number: int) -> None:
        self._engine = engine
        self._number = number
        self._connection: AsyncConnection | None = None

    async def held(self) -> bool:
        """Say whether this process holds the lock, trying to take it if not.

        Raises:
            DatabaseUnavailableError: the database did not answer; the lock is given up.
        """
        if self._engine is None:
            return True
        try:
            with _translated():
                return await self._try(self._engine)
        except DatabaseUnavailableError:
            await self.release()
            raise

    async def _try(self, engine: AsyncEngine) -> bool:
        if self._connection is not None:
            await self._connection.execute(text("SELECT 1"))
            return True
        self._connection = await engine.connect()
        taken = await self._connection.execute(text("SELECT pg_try_advisory_lock(:number)"), {"number": self._number})
        if taken.scalar_one():
            return True
        await self.release()
        return False

    async def release(self) -> None:
        """Give the lock up; without effect when it is not held."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            # The pool would keep the session, and with it the lock.
            with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError, OSError):
                await connection.invalidate()
            await connection.close()


def _make_private(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _tune_sqlite(engine: AsyncEngine, *, begin: str | None) -> None:
    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    if begin:

        @event.listens_for(engine.sync_engine, "begin")
        def begin_writing(connection: Connection) -> None:
            connection.exec_driver_sql(begin)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (sqlalchemy.exc.TimeoutError, OSError, TimeoutError) as error:
        raise DatabaseUnavailableError(type(error).__name__) from error
    except Exception as error:
        if (name := _unavailability(error)) is None:
            raise
        raise DatabaseUnavailableError(name) from error


def _unavailability(error: Exception) -> str | None:
    # asyncpg's errors while connecting arrive as they are, later ones wrapped by SQLAlchemy.
    if isinstance(error, sqlalchemy.exc.DBAPIError) and (error.connection_invalidated or error.orig is None):
        return "connection lost"
    origin = getattr(error, "orig", error)
    if isinstance(origin, sqlite3.OperationalError):
        name = str(getattr(origin, "sqlite_errorname", ""))
        return name if name.startswith(_UNAVAILABLE_SQLITE) else None
    state = str(getattr(origin, "sqlstate", None) or "")
    if state:
        return state if state.startswith(_UNAVAILABLE_SQLSTATE) else None
    return "connection lost" if isinstance(error, sqlalchemy.exc.InterfaceError) else None
