"""What the platform adds to Docker: POST to first 200 through nginx, against docker-py to first 200 on the port.

Both sides are run in turn, with the same image and the same container options (the raw side copies what the
engine says of the platform's own container, a bridge network of its own included), and each container is
removed before the next is made.

    python -m benchmarks.create_overhead [--samples 30]
"""

import argparse
import asyncio
import copy
import http.client
import ssl
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import docker

from benchmarks.figures import percentile, row
from tests.e2e.engine import Engine
from tests.e2e.operations import Operations
from tests.e2e.platform import DOMAIN, Platform
from tests.support.factories import STANDIN_IMAGE
from tests.support.ports import free_port

INSTALLATION = "bench-create"
POLL_SECONDS = 0.001
EDGE_POLL_SECONDS = 0.003


def answers(port: int) -> bool:
    """Say whether the gateway on a published port answers 200 now."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/healthz", headers={"X-Forwarded-For": "192.0.2.1"})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


class RawDocker:
    """docker-py doing by hand what the provisioner does, with the same options."""

    def __init__(self, template: dict[str, Any]) -> None:
        self._api = docker.APIClient(timeout=60)
        self._template = template

    def create(self, name: str) -> tuple[float, float]:
        """Return the milliseconds to the first 200: with the network's creation, and without."""
        port = free_port()
        host = copy.deepcopy(self._template["HostConfig"])
        host["PortBindings"] = {key: [{"HostIp": "127.0.0.1", "HostPort": str(port)}] for key in host["PortBindings"]}
        host["NetworkMode"] = name
        config = {
            key: self._template["Config"][key]
            for key in ("Image", "Cmd", "Env", "User", "Hostname", "ExposedPorts", "WorkingDir")
        }
        begun = time.perf_counter()
        self._api.create_network(name, driver="bridge")
        networked = time.perf_counter()
        created = self._api.create_container_from_config({**config, "HostConfig": host}, name)  # type: ignore[no-untyped-call]
        self._api.start(created["Id"])
        while not answers(port):
            time.sleep(POLL_SECONDS)
        done = time.perf_counter()
        return (done - begun) * 1000, (done - networked) * 1000

    def remove(self, name: str) -> None:
        """Remove the container and its network."""
        self._api.remove_container(name, force=True)
        self._api.remove_network(name)


async def platform_create(operations: Operations) -> tuple[str, float]:
    """Return the new instance and the milliseconds from POST to its first 200 through nginx."""
    begun = time.perf_counter()
    instance_id = await operations.create()
    await asyncio.to_thread(first_200, operations.platform, f"{instance_id}.{DOMAIN}")
    return instance_id, (time.perf_counter() - begun) * 1000


def first_200(platform: Platform, host: str) -> None:
    """Poll one site until it answers 200, on a kept connection: a busier client would slow Docker down."""
    context = platform.tls()
    connection = edge_connection(platform, context, host)
    while True:
        try:
            connection.request("GET", "/healthz", headers={"Host": f"{host}:{platform.https_port}"})
            response = connection.getresponse()
            response.read()
        except http.client.RemoteDisconnected:  # by a worker that ends after a reload
            connection = edge_connection(platform, context, host)
            continue
        if response.status == 200:
            connection.close()
            return
        time.sleep(EDGE_POLL_SECONDS)


def edge_connection(platform: Platform, context: ssl.SSLContext, host: str) -> http.client.HTTPConnection:
    """Connect to the edge as a client of ``host``."""
    connection = http.client.HTTPConnection("127.0.0.1", platform.https_port, timeout=10)
    connection.connect()
    connection.sock = context.wrap_socket(connection.sock, server_hostname=host)
    return connection


async def measure(platform: Platform, samples: int) -> None:
    """Print both sides and their difference."""
    engine = Engine()
    async with platform.client() as client:
        operations = Operations(platform, client, engine)
        first, _ = await platform_create(operations)
        template = engine.container(first)
        raw = RawDocker(template.attrs)
        ours, with_network, without_network = [], [], []
        for number in range(samples):
            total, bare = await asyncio.to_thread(raw.create, f"claw-bench-{number}")
            with_network.append(total)
            without_network.append(bare)
            await asyncio.to_thread(raw.remove, f"claw-bench-{number}")
            instance_id, elapsed = await platform_create(operations)
            ours.append(elapsed)
            await operations.command(instance_id, "delete")
            await operations.gone(instance_id)
        await operations.delete_all()
    print(row("platform: POST -> 200 through nginx", ours))
    print(row("docker-py: network + create + start -> 200", with_network))
    print(row("docker-py: create + start -> 200", without_network))
    paired = [mine - theirs for mine, theirs in zip(ours, with_network, strict=True)]
    print(row("overhead, paired (same options)", paired))
    p50 = statistics.median(ours) - statistics.median(with_network)
    p99 = percentile(ours, 99) - percentile(with_network, 99)
    print(f"overhead of percentiles: p50 {p50:.1f} ms (goal 25), p99 {p99:.1f} ms (goal 100)")
    print(f"ratio of medians: {statistics.median(ours) / statistics.median(with_network):.3f}")


def main() -> None:
    """Start a platform of our own, measure, and take everything down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=30)
    arguments = parser.parse_args()
    subprocess.run(["docker", "image", "inspect", STANDIN_IMAGE], check=True, capture_output=True)
    with tempfile.TemporaryDirectory() as directory:
        platform = Platform(Path(directory), image=STANDIN_IMAGE, CLAWSTEAD_INSTALLATION=INSTALLATION)
        try:
            platform.up()
            asyncio.run(measure(platform, arguments.samples))
        finally:
            platform.down()
            Engine().remove_leftovers(INSTALLATION)


if __name__ == "__main__":
    main()
