"""Our own edge as a peer: the real proxy-sync behind a real nats-server, told of routes as the provisioner does."""

import asyncio
from pathlib import Path

import psutil

from benchmarks.edge.processes import tree
from clawstead_shared import topology
from clawstead_shared.events import Phase, encode
from clawstead_shared.messaging import Bus
from clawstead_shared.settings import BusSettings
from clawstead_shared.streams import PROXY_SYNC, STATE_STREAM
from tests.support.factories import make_observed, observed_event
from tests.support.nats_server import NatsServer
from tests.support.proxy_sync_process import ProxySyncProcess
from tests.support.wait import wait_until

_IN_FLIGHT = 500
_PATIENCE_SECONDS = 300


class Clawstead:
    """A nats-server, a proxy-sync and its nginx in one folder."""

    def __init__(self, folder: Path, routing: str, **environment: str) -> None:
        self.name = f"ours, {routing}"
        self.nats = NatsServer(folder / "nats")
        settings = {"CLAWSTEAD_EDGE_ROUTING": routing, "CLAWSTEAD_EDGE_CHECK_INTERVAL": "10"}
        resync = {"CLAWSTEAD_EDGE_RESYNC_INTERVAL": "60"}
        self.process = ProxySyncProcess(folder, self.nats, **settings, **resync, **environment)
        self.bus = Bus("benchmark", BusSettings(nats_url=self.nats.url))

    @property
    def port(self) -> int:
        """Where visitors come."""
        return self.process.https_port

    @property
    def authority(self) -> Path:
        """The certificate that visitors trust."""
        return self.process.directory / "tls" / "ca.pem"

    async def start(self) -> None:
        """Start all of it, and wait until it serves."""
        self.nats.start()
        await self.bus.connect()
        await topology.apply(self.bus.jetstream)
        self.process.start()
        await self.process.ready()

    async def stop(self) -> None:
        """End all of it."""
        self.process.stop()
        await self.bus.close()
        self.nats.stop()

    async def tell(self, label: str, port: int, phase: Phase = Phase.RUNNING) -> None:
        """Publish what the provisioner would say of an instance."""
        event = observed_event(make_observed(label, phase=phase, port=port, container_id="c" * 64))
        headers, body = encode(event)
        await self.bus.jetstream.publish(event.subject, body, headers=headers, timeout=30)

    async def fill(self, routes: dict[str, int]) -> None:
        """Add routes, many at a time, and wait until the table that is served has them all."""
        pairs = list(routes.items())
        for first in range(0, len(pairs), _IN_FLIGHT):
            await asyncio.gather(*(self.tell(*pair) for pair in pairs[first : first + _IN_FLIGHT]))
        await self.settled()

    async def settled(self) -> None:
        """Wait until the log is followed, and the table served."""
        await wait_until(self._followed, timeout=_PATIENCE_SECONDS, what="the log followed")
        await wait_until(self._served, timeout=_PATIENCE_SECONDS, what="the table served")

    def edge_processes(self) -> list[psutil.Process]:
        """Return nginx's processes."""
        return tree(self.process.nginx_pid)

    def all_processes(self) -> list[psutil.Process]:
        """Return the processes of the edge: nginx, and proxy-sync, but not the bus."""
        return [psutil.Process(self.process.pid), *self.edge_processes()]

    async def _followed(self) -> bool:
        info = await self.bus.jetstream.consumer_info(STATE_STREAM, PROXY_SYNC.durable)
        return not info.num_pending and not info.num_ack_pending

    async def _served(self) -> bool:
        return len(self.process.gates) <= await self.process.lines()
