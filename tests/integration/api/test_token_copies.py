"""Tokens outlive their database: the bus keeps a copy that only the API can read."""

from pathlib import Path

import pytest
from sqlalchemy import delete

from clawstead_api.auth import another_admin_token, authenticate, ensure_admin_token
from clawstead_api.database import Database
from clawstead_api.sealing import Vault
from clawstead_api.tables import Token
from clawstead_api.token_copies import TokenCopies
from tests.support.api import FakeBuckets


@pytest.fixture
def buckets() -> FakeBuckets:
    return FakeBuckets()


@pytest.fixture
def copies(database: Database, buckets: FakeBuckets, tmp_path: Path) -> TokenCopies:
    return TokenCopies(database, Vault(tmp_path / "vault.key"), buckets)


async def lose(database: Database) -> None:
    async with database.write() as session:
        await (await session.connection()).execute(delete(Token))


async def test_a_lost_database_knows_its_tokens_again(database: Database, copies: TokenCopies) -> None:
    token = await another_admin_token(database, revoke_others=False)
    await copies.agree()
    await lose(database)
    made_at_the_start = await ensure_admin_token(database)
    await copies.agree()
    assert await authenticate(database, token)
    assert made_at_the_start is not None
    assert await authenticate(database, made_at_the_start)


async def test_a_revoked_token_stays_so(database: Database, copies: TokenCopies) -> None:
    preset = "claw_preset"
    await ensure_admin_token(database, preset=preset)
    await another_admin_token(database, revoke_others=True)
    await copies.agree()
    await lose(database)
    await ensure_admin_token(database, preset=preset)
    await copies.agree()
    assert await authenticate(database, preset) is None


async def test_what_is_the_same_is_not_written_again(
    database: Database, copies: TokenCopies, buckets: FakeBuckets
) -> None:
    await another_admin_token(database, revoke_others=False)
    await copies.agree()
    kept = buckets.tokens
    await copies.agree()
    assert buckets.tokens is kept
    buckets.tokens = None
    await copies.agree()
    assert buckets.tokens, "a lost bucket has its copy again"


async def test_nobody_elses_copy_is_taken_in(
    database: Database, copies: TokenCopies, buckets: FakeBuckets, tmp_path: Path
) -> None:
    token = await another_admin_token(database, revoke_others=False)
    for forged in (b"", b"nonsense", Vault(tmp_path / "foreign.key").lock("[]")):
        buckets.tokens = forged
        await copies.agree()
        assert buckets.tokens not in {forged, None}
    assert await authenticate(database, token)
    assert token.encode() not in (buckets.tokens or b"")
