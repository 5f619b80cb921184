"""The platform's bus as a test reaches it: as the operator, or as one of the services."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nats
from nats.aio.client import Client

from tests.e2e.platform import Platform


@asynccontextmanager
async def connected(platform: Platform, user: str = "operator") -> AsyncIterator[Client]:
    """Connect as ``user``, for as long as it takes, and again whenever the server was away."""
    seed = platform.data_dir / "nats" / "seeds" / f"{user}.nk"
    options: dict[str, Any] = {}
    if seed.exists():
        options = {"nkeys_seed": str(seed), "inbox_prefix": f"_INBOX.{user}"}
    client = await nats.connect(
        platform.nats_url,
        name=f"test-{user}",
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.2,
        ping_interval=5,
        error_cb=_quiet,
        **options,
    )
    try:
        yield client
    finally:
        await client.close()


async def _quiet(_: Exception) -> None:
    """Keep nats-py from printing what the tests do on purpose."""
