"""The public keys that the API exchanges with other services over the bus.

The provisioner's sealing key is remembered in the database, so that instances can be created while the bus
or the provisioner is away; only before it was ever seen must a client wait.
"""

import asyncio
import base64

import structlog

from clawstead_api import repository
from clawstead_api.database import Database
from clawstead_api.errors import DatabaseUnavailableError, SealingKeyUnknownError
from clawstead_api.ports import KeyDirectory
from clawstead_shared.errors import TransientError
from clawstead_shared.streams import SEALING_KEY

log = structlog.get_logger()

REFRESH_SECONDS = 10.0
_ASK_SECONDS = 2.0


class KeyExchange:
    """Knows the sealing key, and keeps ours published."""

    def __init__(self, database: Database, directory: KeyDirectory, ticket_pem: bytes) -> None:
        self._database = database
        self._directory = directory
        self._ticket_pem = ticket_pem
        self._sealing_key: bytes | None = None

    async def sealing_key(self) -> bytes:
        """Return the key to seal secrets with: as known, as remembered, or as asked for on the bus now.

        Raises:
            SealingKeyUnknownError: the provisioner has never been seen.
            DatabaseUnavailableError: it cannot be looked up now.
        """
        if self._sealing_key is None:
            async with self._database.read() as session:
                remembered = await repository.setting(session, SEALING_KEY)
            self._sealing_key = base64.b64decode(remembered) if remembered else None
        if self._sealing_key is None:
            try:
                async with asyncio.timeout(_ASK_SECONDS):
                    await self._learn_sealing_key()
            except (TransientError, TimeoutError) as error:
                raise SealingKeyUnknownError from error
        if self._sealing_key is None:
            raise SealingKeyUnknownError
        return self._sealing_key

    async def refresh(self) -> None:
        """Publish our key if it is not there, and learn the provisioner's if it has changed.

        Raises:
            TransientError: the bus did not answer.
            DatabaseUnavailableError: a new key could not be remembered.
        """
        await self._directory.publish_ticket_key(self._ticket_pem)
        await self._learn_sealing_key()

    async def run(self) -> None:
        """Refresh for ever."""
        while True:
            try:
                await self.refresh()
            except (TransientError, DatabaseUnavailableError) as error:
                log.warning("public keys not refreshed", error=str(error))
            await asyncio.sleep(REFRESH_SECONDS)

    async def _learn_sealing_key(self) -> None:
        key = await self._directory.sealing_key()
        if key is None or key == self._sealing_key:
            return
        remembered = base64.b64encode(key).decode()
        # Requests that come at once all learn the first key, and insert the same row.
        await self._database.transact(lambda session: repository.remember_setting(session, SEALING_KEY, remembered))
        log.info("sealing key learned")
        self._sealing_key = key
