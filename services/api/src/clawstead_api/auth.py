"""Bearer tokens: 32 random bytes that only their holder has; the database keeps their SHA-256."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlmodel import select
from sqlmodel.ext.asyncio.session import AsyncSession

from clawstead_api.database import Database
from clawstead_api.tables import Token
from clawstead_shared.ids import new_event_id

ADMIN = "admin"
PREFIX = "claw_"

_GENERATED = "generated"
_PRESET = "preset"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request. ``actor`` is what events name as the cause."""

    owner_id: str
    actor: str


def new_token() -> str:
    """Return a fresh token, recognisable by its prefix when it leaks."""
    return PREFIX + secrets.token_hex(32)


async def authenticate(database: Database, token: str) -> Principal | None:
    """Return whose ``token`` this is, None if it is nobody's.

    Raises:
        DatabaseUnavailableError: nobody can be recognised now.
    """
    digest = _digest(token)
    async with database.read() as session:
        row = (await session.exec(select(Token).where(Token.digest == digest))).first()
    if row is None or row.revoked_at is not None or not hmac.compare_digest(row.digest, digest):
        return None
    return Principal(owner_id=row.owner_id, actor=row.owner_id)


async def ensure_admin_token(database: Database, *, preset: str | None = None) -> str | None:
    """Make sure that there is an admin token; return it if it was stored just now, None if it was before.

    ``preset`` is the operator's own choice, and replaces an earlier preset.

    Raises:
        DatabaseUnavailableError: nothing was changed.
    """
    async with database.write() as session:
        tokens = (await session.exec(select(Token).where(Token.owner_id == ADMIN))).all()
        living = [token for token in tokens if token.revoked_at is None]
        if preset is not None:
            # A preset that was revoked stays so, although the environment still names it.
            if any(token.digest == _digest(preset) for token in tokens):
                return None
            return _store(session, preset, _PRESET, replaced=[row for row in living if row.name == _PRESET])
        return None if living else _store(session, new_token(), _GENERATED, replaced=[])


async def another_admin_token(database: Database, *, revoke_others: bool) -> str:
    """Make another admin token and return it.

    Raises:
        DatabaseUnavailableError: nothing was changed.
    """
    async with database.write() as session:
        tokens = await session.exec(select(Token).where(Token.owner_id == ADMIN)) if revoke_others else ()
        return _store(session, new_token(), _GENERATED, replaced=[row for row in tokens if row.revoked_at is None])


def _store(session: AsyncSession, token: str, name: str, *, replaced: list[Token]) -> str:
    now = datetime.now(UTC)
    for row in replaced:
        row.revoked_at = now
    session.add(Token(id=new_event_id(), owner_id=ADMIN, name=name, digest=_digest(token), created_at=now))
    return token


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
