"""The ticket vault on NATS key-value buckets: the API's key in one, a key per spent ticket in the other."""

from collections.abc import Awaitable, Callable

from nats.errors import Error as NatsError
from nats.js.errors import KeyNotFoundError, KeyWrongLastSequenceError
from nats.js.kv import KeyValue

from clawstead_shared.errors import TransientError
from clawstead_shared.streams import KEYS_BUCKET, TICKET_KEY, TICKETS_BUCKET

OpenBucket = Callable[[str], Awaitable[KeyValue]]


class KeyValueVault:
    """Keeps the promises of ``TicketVault``."""

    def __init__(self, bucket: OpenBucket) -> None:
        self._open = bucket
        self._buckets: dict[str, KeyValue] = {}

    async def _bucket(self, name: str) -> KeyValue:
        if name not in self._buckets:
            self._buckets[name] = await self._open(name)
        return self._buckets[name]

    async def key(self) -> bytes | None:
        """See ``TicketVault.key``. Read anew each time: an API that lost its key has published another."""
        try:
            entry = await (await self._bucket(KEYS_BUCKET)).get(TICKET_KEY)
        except KeyNotFoundError:
            return None
        except (NatsError, TimeoutError, OSError) as error:
            raise TransientError(f"keys: bus did not answer ({type(error).__name__})") from error
        return entry.value

    async def spend(self, ticket_id: str) -> bool:
        """See ``TicketVault.spend``."""
        try:
            await (await self._bucket(TICKETS_BUCKET)).create(ticket_id, b"")
        except KeyWrongLastSequenceError:
            return False
        except (NatsError, TimeoutError, OSError) as error:
            raise TransientError(f"tickets: bus did not answer ({type(error).__name__})") from error
        return True
