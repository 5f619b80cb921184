"""Numbers events so that they only ever rise, although a log that was lost counts from 1 again.

Clients resume after the number that they saw last (``Last-Event-ID``), and pages of the history end at one. So
what is stored is the sequence in the log plus an offset, which grows whenever the log is another one.
"""

import asyncio
import json
from dataclasses import asdict, dataclass

import structlog

from clawstead_api import repository
from clawstead_api.database import Database
from clawstead_api.ports import Archive, LogIdentity

log = structlog.get_logger()

_SETTING = "log.numbered"


@dataclass(frozen=True, slots=True)
class Numbered:
    """How the log that was made at ``created`` (ISO 8601) is numbered."""

    created: str
    offset: int


def continued(known: Numbered | None, present: LogIdentity, newest: int) -> Numbered:
    """Return how ``present`` is numbered after the number ``newest``."""
    created = present.created.isoformat()
    if known is not None and known.created != created:
        return Numbered(created, newest)
    offset = known.offset if known else 0
    # A log that is shorter than what it told before was put back, or lost its end.
    return Numbered(created, max(offset, newest - present.last_sequence))


class Numbering:
    """The offset, remembered in the database."""

    def __init__(self, database: Database, archive: Archive) -> None:
        self._database = database
        self._archive = archive
        self._turn = asyncio.Lock()
        self.offset = 0

    async def look(self) -> None:
        """Look whether the log is still the one that was numbered, and number it on if not.

        Raises:
            TransientError: the bus did not answer.
            DatabaseUnavailableError: the database did not answer.
        """
        async with self._turn:
            # In this order: what is stored was in the log before.
            async with self._database.read() as session:
                newest = await repository.newest_sequence(session)
                stored = await repository.setting(session, _SETTING)
            known = Numbered(**json.loads(stored)) if stored else None
            now = continued(known, await self._archive.identity(), newest)
            if now != known:
                value = json.dumps(asdict(now))
                await self._database.transact(lambda session: repository.remember_setting(session, _SETTING, value))
                log.info("log numbered", created=now.created, offset=now.offset, known=known is not None)
            self.offset = now.offset
