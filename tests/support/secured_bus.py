"""A real nats-server that knows the platform's users and nobody else, configured as ``clawstead up`` does it."""

import asyncio
import tempfile
from pathlib import Path
from typing import Self

import nats
from nats.aio.client import Client

from clawstead_cli.bus_seeds import ensure_seeds
from clawstead_cli.nats_conf import nats_conf
from clawstead_cli.settings import Settings
from clawstead_shared import topology
from clawstead_shared.credentials import inbox_prefix, read_seed
from clawstead_shared.messaging import Bus
from clawstead_shared.settings import BusSettings
from tests.support.nats_server import NatsServer


class SecuredBus:
    """The server, and connections to it as any user."""

    def __init__(self) -> None:
        # Not pytest's: the settings refuse a path that is long.
        self._home = tempfile.TemporaryDirectory(prefix="claw-")
        directory = Path(self._home.name)
        self.server = NatsServer(directory / "server")
        self._settings = Settings(data_dir=directory, nats_port=self.server.port)
        self.keys = ensure_seeds(self._settings.seeds_dir)
        self.server.config = nats_conf(self._settings, self.keys)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()
        self._home.cleanup()

    def start(self) -> None:
        """Start the server and declare the bus, as the operator."""
        self.server.start()
        asyncio.run(self._declare())

    async def _declare(self) -> None:
        client = await self.client("operator")
        await topology.apply(client.jetstream())
        await client.close()

    def seed_file(self, user: str) -> Path:
        return self._settings.seeds_dir / f"{user}.nk"

    def settings(self, user: str) -> BusSettings:
        return BusSettings(nats_url=self.server.url, nats_seed_file=self.seed_file(user))

    def bus(self, user: str) -> Bus:
        return Bus(user, self.settings(user))

    async def client(self, user: str, errors: list[str] | None = None) -> Client:
        """Connect as ``user`` without our own library; what the server refuses is added to ``errors``."""

        async def refused(error: Exception) -> None:
            if errors is not None:
                errors.append(str(error))

        return await nats.connect(
            self.server.url,
            nkeys_seed_str=read_seed(self.seed_file(user)),
            inbox_prefix=inbox_prefix(user),
            error_cb=refused,
            allow_reconnect=False,
        )
