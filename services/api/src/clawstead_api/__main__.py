"""The console script ``clawstead-api``: serve, migrate the database, or make an admin token."""

import argparse
import asyncio
import json
import sys
from typing import Any

from pydantic import ValidationError

from clawstead_api import app, schema
from clawstead_api.auth import another_admin_token, ensure_admin_token
from clawstead_api.database import Database
from clawstead_api.errors import DatabaseUnavailableError
from clawstead_api.plans import PlansFileError, load_plans
from clawstead_api.settings import Settings
from clawstead_shared.service import serve
from clawstead_shared.settings import complaint


def main() -> None:
    """Run one command; exit with 2 and one line on what is wrong if it cannot be run."""
    arguments = _parser().parse_args()
    try:
        settings = Settings()
        match arguments.command:
            case "migrate":
                _print(asyncio.run(migrate(settings)))
            case "admin-token":
                _print(asyncio.run(admin_token(settings, arguments)))
            case _:
                _serve(settings)
    except ValidationError as error:
        _fail(complaint(error))
    except (DatabaseUnavailableError, schema.SchemaOutdatedError, PlansFileError, OSError) as error:
        _fail(f"{error} ({error.reason})" if isinstance(error, DatabaseUnavailableError) else str(error))


async def migrate(settings: Settings) -> dict[str, Any]:
    """Bring the database up to date.

    Raises:
        DatabaseUnavailableError: the database did not answer.
    """
    database = Database(settings.database)
    try:
        return {"revision": await schema.upgrade(database)}
    finally:
        await database.close()


async def admin_token(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Make sure that there is an admin token, or make another; ``token`` is null unless it was stored just now.

    Raises:
        DatabaseUnavailableError: the database did not answer.
        SchemaOutdatedError: the database (PostgreSQL) is not migrated.
    """
    database = Database(settings.database)
    preset = settings.admin_token.get_secret_value() if settings.admin_token else None
    try:
        await _prepare(database)
        if arguments.new:
            token: str | None = await another_admin_token(database, revoke_others=arguments.revoke_others)
        else:
            token = await ensure_admin_token(database, preset=preset)
    finally:
        await database.close()
    return {"created": token is not None, "token": token}


async def _prepare(database: Database) -> None:
    if database.is_sqlite:
        await schema.upgrade(database)
    else:
        await schema.require_newest(database)


def _serve(settings: Settings) -> None:
    load_plans(settings.plans_file)
    made = asyncio.run(admin_token(settings, argparse.Namespace(new=False)))
    if made["created"] and settings.admin_token is None:
        print(f"clawstead admin token, shown once: {made['token']}", file=sys.stderr, flush=True)
    serve(app.NAME, settings, port=settings.api_port, body=lambda service: app.run(service, settings))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clawstead-api", description="Clawstead's HTTP gateway.")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("serve", help="serve the API (the default)")
    commands.add_parser("migrate", help="bring the database up to date")
    token = commands.add_parser("admin-token", help="make an admin token if there is none, and print it")
    token.add_argument("--new", action="store_true", help="make another one; those made before stay valid")
    token.add_argument("--revoke-others", action="store_true", help="with --new: those made before stop working")
    return parser


def _print(result: dict[str, Any]) -> None:
    print(json.dumps(result))


def _fail(message: str) -> None:
    print(f"clawstead-api: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
