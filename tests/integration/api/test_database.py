"""The database as such: schema, migrations, locks, and what happens when it is away."""

import asyncio
import sqlite3
from pathlib import Path

import httpx
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from clawstead_api import repository, schema
from clawstead_api.app import watch_database
from clawstead_api.database import Database
from clawstead_api.errors import DatabaseUnavailableError
from clawstead_api.keys import KeyExchange
from clawstead_api.tables import Table
from clawstead_shared.admin import Readiness
from clawstead_shared.streams import SEALING_KEY
from tests.support.api import Api, FakeBuckets
from tests.support.ports import free_port
from tests.support.postgres_server import PostgresServer
from tests.support.wait import wait_until

BODY = {"name": "claw", "plan": "pro"}


async def test_the_migrations_make_exactly_the_tables(database: Database) -> None:
    def differences(connection: object) -> list[object]:
        context = MigrationContext.configure(connection)  # type: ignore[arg-type]
        return list(compare_metadata(context, Table.metadata))

    assert await database.on_connection(differences) == []
    assert ScriptDirectory.from_config(schema.alembic_config()).get_current_head() == schema.REVISION


async def test_migrating_again_and_at_once_is_harmless(database_url: str) -> None:
    databases = [Database(database_url) for _ in range(3)]
    await asyncio.gather(*(schema.upgrade(database) for database in databases))
    await schema.require_newest(databases[0])
    for database in databases:
        await database.close()


async def test_several_processes_migrate_an_empty_database_once(tmp_path: Path) -> None:
    databases = [Database(f"sqlite:///{tmp_path / 'new.db'}") for _ in range(3)]
    with pytest.raises(schema.SchemaOutdatedError, match="clawstead-api migrate"):
        await schema.require_newest(databases[0])
    await asyncio.gather(*(schema.upgrade(database) for database in databases))
    for database in databases:
        await schema.require_newest(database)
        await database.close()
    assert (tmp_path / "new.db").stat().st_mode & 0o777 == 0o600


async def test_sqlite_is_set_up_to_lose_nothing(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    for session_of in (database.read, database.write):
        async with session_of() as session:
            found = {
                name: (await (await session.connection()).execute(text(f"PRAGMA {name}"))).scalar_one()
                for name in wanted
            }
        assert found == wanted
    await database.close()


async def test_a_locked_database_is_503_and_reading_goes_on(sqlite_url: str, tmp_path: Path) -> None:
    database = Database(sqlite_url)
    api = Api(database, tmp_path)
    await api.prepare()
    async with api.client() as client:
        assert (await client.post("/instances", json=BODY)).status_code == 202
        other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        refused = await client.post("/instances", json=BODY)
        assert refused.status_code == 503
        assert refused.json()["type"] == "urn:clawstead:problem:database-unavailable"
        assert int(refused.headers["Retry-After"]) > 0
        assert len((await client.get("/instances")).json()["items"]) == 1
        other.execute("ROLLBACK")
        other.close()
        assert (await client.post("/instances", json=BODY)).status_code == 202
        assert len((await client.get("/instances")).json()["items"]) == 2
    await database.close()


async def test_writers_at_once_all_succeed(api: Api, client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.post("/instances", json=BODY) for _ in range(30)))
    assert {answer.status_code for answer in answers} == {202}
    await api.settle()
    assert len(api.bus.events) == 30


async def test_one_subdomain_asked_for_at_once_is_given_once(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.post("/instances", json={**BODY, "subdomain": "ada"}) for _ in range(6)))
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 5


async def test_a_sealing_key_that_another_learns_at_the_same_moment_is_learned(postgresql_url: str) -> None:
    database = Database(postgresql_url)
    exchange = KeyExchange(database, FakeBuckets(), b"")

    async def waits_for_the_other() -> bool:
        async with database.read() as session:
            waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
            return bool((await (await session.connection()).execute(waiting)).scalar_one())

    async with database.write() as other:
        await repository.remember_setting(other, SEALING_KEY, "")
        await other.flush()
        learning = asyncio.create_task(exchange.sealing_key())
        await wait_until(waits_for_the_other)
    assert await learning
    await database.close()


async def test_commands_at_once_make_one_generation_each(api: Api, client: httpx.AsyncClient) -> None:
    instance_id = (await client.post("/instances", json=BODY)).json()["id"]
    answers = await asyncio.gather(*(client.post(f"/instances/{instance_id}/restart") for _ in range(10)))
    assert sorted(answer.json()["generation"] for answer in answers) == list(range(2, 12))
    await api.settle()
    assert [event.data.generation for event in api.desired(instance_id)] == list(range(1, 12))


async def test_a_database_that_is_not_there_is_unavailable() -> None:
    database = Database(f"postgresql://clawstead@127.0.0.1:{free_port()}/none")
    with pytest.raises(DatabaseUnavailableError):
        await database.require_reachable()
    readiness = Readiness()
    watching = asyncio.create_task(watch_database(database, readiness))
    await wait_until(lambda: "database" in readiness.waiting)
    watching.cancel()
    await database.close()


async def test_a_server_that_restarts_is_503_and_then_works_again(tmp_path: Path) -> None:
    server = PostgresServer()
    server.start()
    database = Database(server.url())
    try:
        await schema.upgrade(database)
        api = Api(database, tmp_path)
        await api.prepare()
        async with api.client() as client:
            assert (await client.post("/instances", json=BODY)).status_code == 202
            await database.require_reachable()
            killer = Database(server.url())
            async with killer.read() as session:
                await (await session.connection()).execute(
                    text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
                )
            await killer.close()
            statuses = [(await client.post("/instances", json=BODY)).status_code for _ in range(8)]
            assert set(statuses) <= {202, 503}
            assert statuses[-1] == 202
    finally:
        await database.close()
        server.stop()
