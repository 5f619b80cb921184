"""A short-lived connection to NATS, for one command."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from clawstead_cli.deadline import Deadline
from clawstead_cli.errors import CommandError, UnreachableError, UsageError
from clawstead_cli.settings import BusAddress
from clawstead_shared.credentials import SeedFileError, inbox_prefix, is_refusal, read_seed

_RETRY_SECONDS = 0.1
_REQUEST_SECONDS = 5.0


@asynccontextmanager
async def connected(bus: BusAddress, deadline: Deadline) -> AsyncIterator[JetStreamContext]:
    """Connect as ``connected_client`` does, for JetStream alone."""
    async with connected_client(bus, deadline) as client:
        yield jetstream_of(client)


def jetstream_of(client: Client) -> JetStreamContext:
    """Return the JetStream side of a connection."""
    return client.jetstream(timeout=_REQUEST_SECONDS)


@asynccontextmanager
async def connected_client(bus: BusAddress, deadline: Deadline) -> AsyncIterator[Client]:
    """Connect to ``bus``, waiting for the server until ``deadline``. A lost connection is not made again.

    Raises:
        UnreachableError: nobody answered in time.
        CommandError: the server does not let us in, or the file with our seed cannot be used.
    """
    credentials = _credentials(bus)

    async def quiet(_: Exception) -> None:
        """Keep nats-py from printing what we report ourselves."""

    while True:
        try:
            client = await nats.connect(
                bus.url,
                name="clawstead-cli",
                inbox_prefix=inbox_prefix("operator"),
                **credentials,
                connect_timeout=2,
                # Even with reconnects forbidden nats-py would try 60 times, 2 s apart, before it reports a failure.
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                error_cb=quiet,
            )
            break
        except (NatsError, OSError, TimeoutError) as error:
            if is_refusal(error):
                raise CommandError(
                    f"NATS at {_without_password(bus.url)} refuses these credentials",
                    hint="CLAWSTEAD_DATA_DIR says where the operator's key is (nats/seeds/operator.nk),"
                    " or CLAWSTEAD_NATS_SEED_FILE names it",
                ) from error
            if deadline.passed:
                raise UnreachableError(
                    f"NATS at {_without_password(bus.url)} does not answer ({error})",
                    hint="is the platform up (`clawstead status`)? CLAWSTEAD_NATS_URL says where NATS is",
                ) from error
            await asyncio.sleep(min(_RETRY_SECONDS, deadline.remaining))
    try:
        yield client
    finally:
        await client.close()


def _credentials(bus: BusAddress) -> dict[str, Any]:
    if bus.seed_file is None:
        return {}
    try:
        return {"nkeys_seed_str": read_seed(bus.seed_file)}
    except SeedFileError as error:
        raise UsageError(str(error)) from error


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}:{parts.port or 4222}"
