"""A copy of the tokens on the bus, so that a lost database does not lock everybody out.

It holds digests, not tokens, and is encrypted with the API's own key: nobody else can read it, or have a token of
their own taken in. Without that key it is of no use, and tokens have to be made anew.
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime

import structlog
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from clawstead_api.database import Database
from clawstead_api.errors import DatabaseUnavailableError
from clawstead_api.ports import TokenDeposit
from clawstead_api.sealing import Vault
from clawstead_api.tables import Token
from clawstead_shared.errors import TransientError

log = structlog.get_logger()

_WATCH_SECONDS = 5.0


class Copy(BaseModel):
    """One token, as the bus keeps it."""

    model_config = ConfigDict(frozen=True, extra="ignore", from_attributes=True)

    id: str
    owner_id: str
    name: str
    digest: str
    created_at: datetime
    revoked_at: datetime | None = None


_COPIES = TypeAdapter(list[Copy])


class TokenCopies:
    """Keeps database and copy the same: what either knows of a token, also that it was revoked, holds in both."""

    def __init__(self, database: Database, vault: Vault, deposit: TokenDeposit) -> None:
        self._database = database
        self._vault = vault
        self._deposit = deposit

    async def agree(self) -> None:
        """Take over what only the copy knows, then write the copy anew if it differs.

        Raises:
            TransientError: the bus did not answer.
            DatabaseUnavailableError: the database did not answer.
        """
        copies = self._read(await self._deposit.token_copies())
        async with self._database.read() as session:
            rows = await _stored(session)
        if _news(copies, rows):
            rows = await self._database.transact(lambda session: _take_over(session, copies))
            log.warning("tokens taken over from the bus", tokens=len(rows))
        known = [Copy.model_validate(row) for row in rows]
        if known != copies:
            await self._deposit.keep_token_copies(self._vault.lock(_COPIES.dump_json(known).decode()))

    async def run(self) -> None:
        """Agree for ever: tokens are also made and revoked by commands that do not know the bus."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            try:
                await self.agree()
            except (TransientError, DatabaseUnavailableError) as error:
                log.debug("tokens not compared", error=str(error))

    def _read(self, locked: bytes | None) -> list[Copy]:
        text = self._vault.unlock(locked) if locked else None
        if locked and text is None:
            log.warning("the copy of the tokens was made with another key, and is replaced")
        try:
            return _COPIES.validate_json(text) if text else []
        except ValidationError:
            log.warning("the copy of the tokens cannot be read, and is replaced")
            return []


async def _stored(session: AsyncSession) -> Sequence[Token]:
    return (await session.exec(select(Token).order_by(col(Token.id)))).all()


def _news(copies: Sequence[Copy], rows: Sequence[Token]) -> bool:
    known = {row.digest: row for row in rows}
    return any(
        (row := known.get(copy.digest)) is None or (copy.revoked_at is not None and row.revoked_at is None)
        for copy in copies
    )


async def _take_over(session: AsyncSession, copies: Sequence[Copy]) -> Sequence[Token]:
    known = {row.digest: row for row in await _stored(session)}
    for copy in copies:
        row = known.get(copy.digest)
        if row is None:
            session.add(Token(**copy.model_dump()))
        elif copy.revoked_at is not None:
            row.revoked_at = row.revoked_at or copy.revoked_at
    await session.flush()
    return await _stored(session)
