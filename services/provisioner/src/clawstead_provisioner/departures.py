"""Ports that instances have left, and that nobody else gets before the edge leads there no more.

nginx goes on without proxy-sync, with the routes that were open last. The newest word on topic ``route`` says which
those are: a gate is closed first, and told of afterwards.
"""

import structlog
from prometheus_client import Gauge

from clawstead_provisioner.port_allocation import PortTable
from clawstead_shared.errors import TransientError
from clawstead_shared.events import Event, Payload, Route
from clawstead_shared.messaging import EventReader
from clawstead_shared.subjects import Topic

log = structlog.get_logger()

HELD_BACK = Gauge(
    "clawstead_ports_held_back", "Ports that nobody has, and nobody gets, because the edge may still lead there"
)


class Departures:
    """Takes ports from instances, and gives them to the table once the edge has let go of them."""

    def __init__(self, ports: PortTable, reader: EventReader, host: str) -> None:
        self._ports = ports
        self._reader = reader
        self._host = host

    async def leave(self, instance_id: str) -> None:
        """Take an instance's port from it. It is free at once, unless the edge leads there or that cannot be known."""
        self._ports.leave(instance_id)
        try:
            await self._let_go([(name, port) for name, port in self._ports.left if name == instance_id])
        except TransientError as error:
            # The end of an instance is said without its route too: what became of that, each sweep asks again.
            log.warning("route could not be read", instance_id=instance_id, error=str(error))
        self._show()

    async def recall(self) -> None:
        """Hold back where the edge leads to although the instance is not there: it left while nobody looked.

        Raises:
            TransientError: the bus did not answer.
        """
        async for event in self._reader.each_newest(Topic.ROUTE):
            if not isinstance(event.data, Route) or not event.data.active:
                continue
            host, port = _address(event.data)
            if port is None:
                log.warning("route leads nobody knows where", instance_id=event.instance_id)
            elif host == self._host and self._ports.covers(port):
                self._ports.hold_back(event.instance_id, port)
        self._show()

    async def review(self) -> None:
        """Free the ports that the edge has let go of.

        Raises:
            TransientError: the bus did not answer.
        """
        await self._let_go(self._ports.left)
        self._show()

    async def _let_go(self, left: list[tuple[str, int]]) -> None:
        for instance_id, port in left:
            if not _leads_to(await self._reader.newest(Topic.ROUTE, instance_id), port):
                self._ports.let_go(instance_id, port)

    def _show(self) -> None:
        HELD_BACK.set(self._ports.held_back)
        if self._ports.held_back:
            log.warning("ports are held back, the edge may still lead there", ports=self._ports.held_back)


def _leads_to(event: Event[Payload] | None, port: int) -> bool:
    if event is None or not isinstance(event.data, Route) or not event.data.active:
        return False
    # One that cannot be read may lead anywhere.
    return _address(event.data)[1] in {port, None}


def _address(route: Route) -> tuple[str, int | None]:
    host, _, port = (route.upstream or "").rpartition(":")
    return host.strip("[]"), int(port) if port.isdecimal() else None
