"""Brings a database up to the schema that this version needs.

alembic is imported only where there is something to migrate: it costs 10 MB that a serving process would keep.
"""

from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

from clawstead_api.database import Database

if TYPE_CHECKING:
    from alembic.config import Config

REVISION = "0005"
"""The newest migration."""

_LOCK = 0x6D696772  # any number of our own, other than the relay's


class SchemaOutdatedError(RuntimeError):
    """The database has another schema than this version needs."""


async def upgrade(database: Database) -> str:
    """Apply the missing migrations, all or none, and return the revision reached.

    Of several processes that try at once, one does it and the others wait.

    Raises:
        DatabaseUnavailableError: the database did not answer.
    """
    if await database.on_connection(_current) != REVISION:
        await database.on_connection(_migrate)
    return REVISION


async def require_newest(database: Database) -> None:
    """Check that no migration is missing.

    Raises:
        SchemaOutdatedError: one is.
        DatabaseUnavailableError: the database did not answer.
    """
    current = await database.on_connection(_current)
    if current != REVISION:
        raise SchemaOutdatedError(
            f"the database has schema {current}, this version needs {REVISION}: run `clawstead-api migrate`"
        )


def alembic_config(connection: Connection | None = None) -> "Config":
    """Return alembic's configuration, which is not in a file as there is nothing to choose."""
    from alembic.config import Config  # noqa: PLC0415 - see above

    config = Config()
    config.set_main_option("script_location", "clawstead_api:migrations")
    config.attributes["connection"] = connection
    return config


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return str(revision) if revision else None


def _migrate(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - see above

    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL lock_timeout = '60s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK})
    command.upgrade(alembic_config(connection), "head")
