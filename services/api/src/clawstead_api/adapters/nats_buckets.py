"""The key-value buckets on NATS JetStream. Keeps every port of what is stored there."""

import base64
import binascii
import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import datetime

import nats.js.errors
import structlog
from nats.errors import Error as NatsError
from nats.js.kv import KeyValue
from pydantic import ValidationError

from clawstead_api.adapters.nats_log import created_of
from clawstead_shared.errors import StreamsMissingError, TransientError
from clawstead_shared.hosts import HostBudget
from clawstead_shared.messaging import Bus, Log
from clawstead_shared.streams import HOSTS_BUCKET, KEYS_BUCKET, SEALING_KEY, SECRETS_BUCKET, TICKET_KEY, TOKENS_KEY

log = structlog.get_logger()

_SEALING_KEY_BYTES = 32


class NatsBuckets:
    """The buckets, looked up when first used."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._buckets: dict[str, KeyValue] = {}
        self._secrets = Log(lambda: bus.client, f"KV_{SECRETS_BUCKET}")

    async def put(self, instance_id: str, sealed: bytes) -> None:
        """See ``SecretStore.put``."""
        with _translated():
            await (await self._bucket(SECRETS_BUCKET)).put(instance_id, sealed)

    async def forget(self, instance_id: str) -> None:
        """See ``SecretStore.forget``."""
        with _translated():
            await (await self._bucket(SECRETS_BUCKET)).purge(instance_id)

    async def created(self) -> datetime:
        """See ``SecretStore.created``."""
        with _translated():
            return await created_of(self._bus, f"KV_{SECRETS_BUCKET}")

    async def deposits(self) -> AsyncIterator[tuple[str, bytes]]:
        """See ``SecretStore.deposits``."""
        prefix = f"$KV.{SECRETS_BUCKET}."
        async for message in self._secrets.read(subject=f"{prefix}>"):
            if "KV-Operation" not in message.headers:
                yield message.subject.removeprefix(prefix), message.body

    async def sealing_key(self) -> bytes | None:
        """See ``KeyDirectory.sealing_key``."""
        value = await self._get(SEALING_KEY)
        try:
            key = base64.b64decode(value or b"", validate=True)
        except binascii.Error:
            return None
        return key if len(key) == _SEALING_KEY_BYTES else None

    async def publish_ticket_key(self, pem: bytes) -> None:
        """See ``KeyDirectory.publish_ticket_key``."""
        if await self._get(TICKET_KEY) != pem:
            with _translated():
                await (await self._bucket(KEYS_BUCKET)).put(TICKET_KEY, pem)

    async def token_copies(self) -> bytes | None:
        """See ``TokenDeposit.token_copies``."""
        return await self._get(TOKENS_KEY)

    async def keep_token_copies(self, locked: bytes) -> None:
        """See ``TokenDeposit.keep_token_copies``."""
        with _translated():
            await (await self._bucket(KEYS_BUCKET)).put(TOKENS_KEY, locked)

    async def host_budgets(self) -> list[HostBudget]:
        """See ``HostDirectory.host_budgets``."""
        with _translated():
            hosts = await self._bus.keys(HOSTS_BUCKET)
        budgets = []
        for host in hosts:
            told = await self._get(host, HOSTS_BUCKET)
            if told is None:
                continue
            try:
                budgets.append(HostBudget.read(told))
            except ValidationError:
                log.warning("budget of a host cannot be read", host=host)
        return budgets

    async def _get(self, key: str, bucket: str = KEYS_BUCKET) -> bytes | None:
        with _translated():
            try:
                return (await (await self._bucket(bucket)).get(key)).value
            except nats.js.errors.KeyNotFoundError:
                return None

    async def _bucket(self, name: str) -> KeyValue:
        if not self._bus.connected:
            raise TransientError("bus is not reachable")
        if name not in self._buckets:
            self._buckets[name] = await self._bus.bucket(name)
        return self._buckets[name]


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (NatsError, StreamsMissingError, TimeoutError, OSError) as error:
        raise TransientError(f"bucket: bus did not answer ({type(error).__name__})") from error
