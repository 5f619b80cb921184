"""Where projections are made anew, beside those that are read, and how they take their place.

Staging goes in bounded batches, each a short transaction. Taking the place is one transaction that writes only
what differs: on a sound projection nothing, so that neither readers nor writers wait.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Table as SqlTable
from sqlalchemy import Text, and_, cast, delete, exists, insert, or_, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from clawstead_api.database import Database
from clawstead_api.tables import Event, StagedEvent, StagedStatus, Status, Table

_EVENTS: SqlTable = Table.metadata.tables[str(Event.__tablename__)]
_STATUSES: SqlTable = Table.metadata.tables[str(Status.__tablename__)]
_STAGED_EVENTS: SqlTable = Table.metadata.tables[str(StagedEvent.__tablename__)]
_STAGED_STATUSES: SqlTable = Table.metadata.tables[str(StagedStatus.__tablename__)]
_PAGE = 2000

Row = dict[str, Any]


class Staging:
    """The staged tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def clear(self) -> None:
        """Forget what is staged, also what a rebuild that died has left.

        Raises:
            DatabaseUnavailableError: the database did not answer.
        """
        for table in (_STAGED_EVENTS, _STAGED_STATUSES):
            async with self._database.write() as session:
                await (await session.connection()).execute(delete(table))

    async def known(self, ids: Sequence[str]) -> set[str]:
        """Return which of ``ids`` are staged.

        Raises:
            DatabaseUnavailableError: the database did not answer.
        """
        async with self._database.read() as session:
            found = select(_STAGED_EVENTS.c.id).where(_STAGED_EVENTS.c.id.in_(ids))
            return set((await (await session.connection()).execute(found)).scalars())

    async def add_events(self, rows: Sequence[Row], *, outdated: Sequence[str] = ()) -> None:
        """Stage history rows; of two with one id the first stays. ``outdated`` are ids staged before in vain.

        Raises:
            DatabaseUnavailableError: the database did not answer.
        """
        async with self._database.write() as session:
            connection = await session.connection()
            for begin in range(0, len(outdated), _PAGE):
                ids = outdated[begin : begin + _PAGE]
                await connection.execute(delete(_STAGED_EVENTS).where(_STAGED_EVENTS.c.id.in_(ids)))
            if rows:
                await connection.execute(_insert(self._database, _STAGED_EVENTS).on_conflict_do_nothing(), rows)

    async def add_statuses(self, rows: Sequence[Row]) -> None:
        """Stage statuses.

        Raises:
            DatabaseUnavailableError: the database did not answer.
        """
        if rows:
            async with self._database.write() as session:
                await (await session.connection()).execute(insert(_STAGED_STATUSES), rows)

    async def events(self) -> AsyncIterator[Row]:
        """Yield the history rows that are read now, in order.

        Raises:
            DatabaseUnavailableError: the database did not answer.
        """
        async for row in self._rows(_EVENTS, (_EVENTS.c.sequence, _EVENTS.c.id)):
            yield row

    async def statuses(self) -> AsyncIterator[Row]:
        """Yield the statuses that are read now, in order.

        Raises:
            DatabaseUnavailableError: the database did not answer.
        """
        async for row in self._rows(_STATUSES, (_STATUSES.c.instance_id,)):
            yield row

    async def _rows(self, table: SqlTable, order: tuple[Any, ...]) -> AsyncIterator[Row]:
        after: tuple[Any, ...] | None = None
        while True:
            statement = select(table).order_by(*order).limit(_PAGE)
            if after is not None:
                statement = statement.where(tuple_(*order) > tuple_(*after))
            async with self._database.read() as session:
                rows = (await (await session.connection()).execute(statement)).mappings().all()
            for row in rows:
                yield dict(row)
            if len(rows) < _PAGE:
                return
            after = tuple(rows[-1][column.name] for column in order)

    async def take_place(self) -> None:
        """Make the projections that are read what is staged, all at once.

        Raises:
            DatabaseUnavailableError: the database did not answer; nothing is changed.
        """
        async with self._database.write() as session:
            connection = await session.connection()
            for live, staged in ((_EVENTS, _STAGED_EVENTS), (_STATUSES, _STAGED_STATUSES)):
                (key,) = live.primary_key.columns
                staged_key = staged.c[key.name]
                await connection.execute(delete(live).where(~exists().where(staged_key == key)))
                same = and_(staged_key == key, ~_differ(live, staged))
                rows = select(staged).where(~exists().where(same).correlate(staged))
                new = _insert(self._database, live).from_select(list(staged.c.keys()), rows)
                values = {column.name: new.excluded[column.name] for column in live.c if not column.primary_key}
                await connection.execute(new.on_conflict_do_update(index_elements=[key], set_=values))


def _insert(database: Database, table: SqlTable) -> Any:
    return sqlite.insert(table) if database.is_sqlite else postgresql.insert(table)


def _differ(live: SqlTable, staged: SqlTable) -> Any:
    # JSON is compared as text, which PostgreSQL keeps as it was written.
    pairs = ((column, staged.c[column.name]) for column in live.c if not column.primary_key)
    return or_(*(_comparable(one).is_distinct_from(_comparable(other)) for one, other in pairs))


def _comparable(column: Any) -> Any:
    return cast(column, Text) if column.name in _JSON else column


_JSON = {"data", "observed", "route", "health", "terminal"}


class Digest:
    """SHA-256 of rows in their canonical form: one line of JSON each, keys sorted, times in UTC."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.entries = 0

    def add(self, row: Row) -> None:
        """Add one row."""
        self.entries += 1
        self._hash.update(json.dumps(row, sort_keys=True, separators=(",", ":"), default=_time).encode())
        self._hash.update(b"\n")

    def hex(self) -> str:
        """Return the digest of the rows so far."""
        return self._hash.hexdigest()


def _time(value: object) -> str:
    assert isinstance(value, datetime)
    return value.astimezone(UTC).isoformat(timespec="microseconds")
