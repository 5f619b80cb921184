"""What a customer's container can reach of the platform: not its bus."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from tests.e2e.engine import Engine
from tests.e2e.operations import Operations
from tests.e2e.platform import SERVICES, Platform

GREETING = b"INFO {}\r\n"
"""How NATS greets whoever connects."""


@contextmanager
def greeting_everywhere() -> Iterator[int]:
    """Listen on every address of this machine, as NATS must not; yields the port."""
    with socket.create_server(("0.0.0.0", 0)) as server:

        def greet() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(GREETING)

        threading.Thread(target=greet, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def addresses_of_this_machine() -> list[str]:
    found = [address for addresses in psutil.net_if_addrs().values() for address in addresses]
    return sorted({address.address for address in found if address.family is socket.AF_INET})


async def test_a_tenants_container_has_no_route_to_nats(
    operations: Operations, platform: Platform, engine: Engine
) -> None:
    instance_id = await operations.create()
    await operations.reached(instance_id, "running")
    container = engine.container(instance_id)
    gateways = {network["Gateway"] for network in container.attrs["NetworkSettings"]["Networks"].values()}

    def greeted(address: str, port: int) -> bool:
        result = container.exec_run(["sh", "-c", f"nc -w 1 {address} {port} </dev/null"])
        return b"INFO" in result.output

    with socket.create_connection(("127.0.0.1", platform.nats_port), timeout=5) as here:
        assert here.recv(4) == b"INFO"
    with greeting_everywhere() as port:
        assert all(greeted(gateway, port) for gateway in gateways), "the check itself finds nothing"
    reached = [address for address in addresses_of_this_machine() if greeted(address, platform.nats_port)]
    assert reached == []


async def test_no_process_asks_of_the_bus_for_more_than_it_may(operations: Operations, platform: Platform) -> None:
    instance_id = await operations.create()
    await operations.reached(instance_id, "running")
    await operations.command(instance_id, "stop")
    await operations.reached(instance_id, "stopped")
    logs = {service: platform.log(service).lower() for service in SERVICES}
    assert [service for service, log in logs.items() if "permissions violation" in log] == []
    assert all("ready" in log for log in logs.values())
