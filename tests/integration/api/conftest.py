"""Every test of the API runs on both databases, each on a fresh copy of a migrated one."""

import itertools
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import httpx
import pytest

from clawstead_api import schema
from clawstead_api.database import Database
from tests.support.api import Api
from tests.support.postgres_server import PostgresServer

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def template_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("template")


async def migrated(url: str) -> None:
    database = Database(url)
    await schema.upgrade(database)
    await database.close()


@pytest.fixture
async def sqlite_url(template_directory: Path, tmp_path: Path) -> str:
    template = template_directory / "api.db"
    if not template.exists():
        await migrated(f"sqlite:///{template}")
    shutil.copy(template, tmp_path / "api.db")
    return f"sqlite:///{tmp_path / 'api.db'}"


@pytest.fixture
async def postgresql_url(postgres_server: PostgresServer) -> str:
    name = f"api_{next(_numbers)}"
    admin = await asyncpg.connect(f"postgresql://clawstead@127.0.0.1:{postgres_server.port}/postgres")
    try:
        if not await admin.fetchval("SELECT 1 FROM pg_database WHERE datname = 'api_template'"):
            await admin.execute("CREATE DATABASE api_template")
            await migrated(f"postgresql://clawstead@127.0.0.1:{postgres_server.port}/api_template")
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE api_template")
    finally:
        await admin.close()
    return f"postgresql://clawstead@127.0.0.1:{postgres_server.port}/{name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A migrated, empty database of each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = Database(database_url)
    yield database
    await database.close()


@pytest.fixture
async def api(database: Database, tmp_path: Path) -> Api:
    api = Api(database, tmp_path)
    await api.prepare()
    return api


@pytest.fixture
async def client(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    async with api.client() as client:
        yield client
