"""The provisioner under load, against what docker-py can do on this machine in the same run.

- 20 creates at once, until all are said to run; docker-py makes as many with the same options at its best concurrency.
- 20 deletes at once of gateways that ignore SIGTERM.
- From a container's end (the engine's time) until the provisioner says so.
- Stops while an image is pulled slowly, against stops without that.

    python -m benchmarks.provisioning_load [--rounds 3] [--count 20]
"""

import argparse
import asyncio
import contextlib
import copy
import http.client
import os
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import docker

from benchmarks.figures import row
from benchmarks.observer import Observer
from clawstead_shared import topology
from clawstead_shared.events import Desired, DesiredState
from clawstead_shared.ids import new_instance_id
from clawstead_shared.messaging import Bus
from clawstead_shared.settings import BusSettings
from tests.support.factories import STANDIN_IMAGE, make_spec
from tests.support.nats_server import NatsServer
from tests.support.ports import free_port
from tests.support.provisioner_process import ProvisionerProcess
from tests.support.provisioner_rig import wanted
from tests.support.registry import SERVES, Registry
from tests.support.wishes import changed, entrust, want

CONCURRENCIES = (2, 4, 8)
DELETE_GRACE_SECONDS = 2
SUBNETS = IPv4Network("10.214.0.0/16")
"""The provisioner's pool ends below it at the ports that its benchmark uses."""


class RawDocker:
    """docker-py doing by hand what the provisioner does, with the same options."""

    def __init__(self, template: dict[str, Any]) -> None:
        self._api = docker.APIClient(timeout=60, max_pool_size=16)
        self._template = template
        self._subnets = SUBNETS.subnets(new_prefix=29)

    def create_all(self, count: int, concurrency: int) -> tuple[float, float]:
        """Make that many, and remove them; return the seconds until the last one answered, and until all were gone."""
        names = [f"claw-bench-{new_instance_id()[-10:]}" for _ in range(count)]
        subnets = [next(self._subnets) for _ in names]
        with ThreadPoolExecutor(concurrency) as threads:
            begun = time.perf_counter()
            list(threads.map(self._create, names, subnets))
            elapsed = time.perf_counter() - begun
            begun = time.perf_counter()
            list(threads.map(self._remove, names))
        return elapsed, time.perf_counter() - begun

    def _create(self, name: str, subnet: IPv4Network) -> None:
        port = free_port()
        host = copy.deepcopy(self._template["HostConfig"])
        host["PortBindings"] = {key: [{"HostIp": "127.0.0.1", "HostPort": str(port)}] for key in host["PortBindings"]}
        host["NetworkMode"] = name
        keys = ("Image", "Cmd", "Env", "User", "Hostname", "ExposedPorts", "WorkingDir", "Labels")
        config = {key: self._template["Config"][key] for key in keys}
        config["Labels"] = {}
        pool = docker.types.IPAMPool(subnet=str(subnet))
        self._api.create_network(name, driver="bridge", ipam=docker.types.IPAMConfig(pool_configs=[pool]))
        created = self._api.create_container_from_config({**config, "HostConfig": host}, name)  # type: ignore[no-untyped-call]
        self._api.start(created["Id"])
        while not answers(port):
            time.sleep(0.002)

    def _remove(self, name: str) -> None:
        self._api.remove_container(name, force=True)
        self._api.remove_network(name)


def answers(port: int) -> bool:
    """Say whether the gateway on a published port has started."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/startupz", headers={"X-Forwarded-For": "192.0.2.1"})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


class Load:
    """One provisioner, and what is asked of it."""

    def __init__(self, bus: Bus, observer: Observer, process: ProvisionerProcess, count: int) -> None:
        self.bus = bus
        self.observer = observer
        self.process = process
        self.count = count

    async def wishes(self, count: int, image: str = STANDIN_IMAGE) -> list[Desired]:
        """Return desired states whose secrets are on the bus."""
        found = []
        for _ in range(count):
            desired = wanted()
            found.append(desired.model_copy(update={"spec": make_spec(desired.instance_id, image=image)}))
            await entrust(self.bus, desired)
        return found

    async def ask(self, wishes: list[Desired], phase: str) -> list[float]:
        """Publish all at once; return the seconds after which each was said to be in ``phase``."""
        begun = time.time()
        await asyncio.gather(*(want(self.bus, desired) for desired in wishes))
        reached = (self.observer.when(one.instance_id, phase, generation=one.generation) for one in wishes)
        return [moment - begun for moment in await asyncio.gather(*reached)]

    async def created(self) -> tuple[list[Desired], float]:
        """Create as many as asked for; return them and the seconds until the last one ran."""
        made = await self.wishes(self.count)
        return made, max(await self.ask(made, "running"))

    async def deleted(self, made: list[Desired], generation: int = 9) -> list[float]:
        """Delete instances at once; return after how many seconds each was gone."""
        return await self.ask([changed(one, generation, DesiredState.DELETED) for one in made], "removed")


async def creates(load: Load, rounds: int, client: Any) -> None:
    """Print the throughput of both sides."""
    (first,) = await load.wishes(1)
    await load.ask([first], "running")
    raw = RawDocker(client.containers.get(f"claw-{first.instance_id}").attrs)
    ours: list[float] = []
    removals: list[float] = []
    theirs: dict[int, list[float]] = {concurrency: [] for concurrency in CONCURRENCIES}
    for _ in range(rounds):
        for concurrency, seconds in theirs.items():
            made_in, gone_in = await asyncio.to_thread(raw.create_all, load.count, concurrency)
            seconds.append(load.count / made_in)
            removals.append(gone_in)
        made, elapsed = await load.created()
        ours.append(load.count / elapsed)
        await load.deleted(made)
    for concurrency, rates in theirs.items():
        print(row(f"docker-py, {concurrency} at once: {load.count} creates", rates, "/s"))
    print(row(f"provisioner: {load.count} creates at once", ours, "/s"))
    print(row(f"docker-py: {load.count} forced removals, without grace", removals, "s"))
    best = max(sorted(rates)[len(rates) // 2] for rates in theirs.values())
    print(f"ratio of medians to docker-py's best: {sorted(ours)[len(ours) // 2] / best:.2f} (goal 0.95)")


async def stubborn_deletes(load: Load, client: Any) -> None:
    """Print how long it takes to delete gateways that ignore SIGTERM.

    The engine removes networks one after the other, so the containers are gone well before all is.
    """
    made = await load.wishes(load.count)
    for desired in made:
        knobs = load.process.data_dir / "instances" / desired.instance_id / "config" / "standin"
        knobs.mkdir(parents=True)
        (knobs / "ignore-term").touch()
        os.chown(knobs, 1000, 1000)
    await load.ask(made, "running")
    before = time.time()
    seconds = await load.deleted(made)
    names = [f"claw-{desired.instance_id}" for desired in made]
    filters = {"type": "container", "container": names, "event": "destroy"}
    told = client.events(since=int(before), until=int(time.time()) + 1, filters=filters, decode=True)
    gone = [event["timeNano"] / 1e9 - before for event in told]
    print(row(f"{load.count} deletes, SIGTERM ignored: container gone", gone, "s"))
    print(row(f"{load.count} deletes, SIGTERM ignored: all removed", seconds, "s"))
    print(f"all containers gone after {max(gone):.2f} s (goal {DELETE_GRACE_SECONDS + 3})")


async def crashes(load: Load, client: Any, samples: int) -> None:
    """Print how long after a container's end the provisioner says so."""
    made = await load.wishes(samples)
    await load.ask(made, "running")
    delays = []
    for desired in made:
        container = client.containers.get(f"claw-{desired.instance_id}")
        before = time.time()
        await asyncio.to_thread(container.kill)
        seen = await load.observer.when(desired.instance_id, "starting", since=before)
        filters = {"container": container.id, "event": "die"}
        (event,) = client.events(since=int(before), until=int(time.time()) + 1, filters=filters, decode=True)
        delays.append((seen - event["timeNano"] / 1e9) * 1000)
    await load.deleted(made)
    print(row("a container's end until it is said", delays))
    print(f"slowest {max(delays):.0f} ms (goal 100)")


async def stops_during_a_pull(load: Load, client: Any, samples: int) -> None:
    """Print how long stops take while an image is pulled slowly, and without that."""
    saved = b"".join(client.api.get_image(STANDIN_IMAGE))
    made = await load.wishes(2 * samples)
    await load.ask(made, "running")
    with Registry(saved) as registry:
        image = registry.push("slow", SERVES, ballast=4 * 1024 * 1024)
        alone = await _stops(load, made[:samples])
        registry.bytes_per_second = 64 * 1024
        (slow,) = await load.wishes(1, f"{registry.repository}:slow")
        await want(load.bus, slow)
        await load.observer.when(slow.instance_id, "provisioning")
        during = await _stops(load, made[samples:])
        registry.bytes_per_second = None
        await load.observer.when(slow.instance_id, "running")
        await load.deleted([*made, slow])
        client.images.remove(image, force=True)
    print(row("a stop", alone))
    print(row("a stop while an image is pulled slowly", during))
    difference = sorted(during)[len(during) // 2] - sorted(alone)[len(alone) // 2]
    print(f"difference of medians {difference:.0f} ms (goal 50)")


async def _stops(load: Load, made: list[Desired]) -> list[float]:
    found = []
    for desired in made:
        (seconds,) = await load.ask([changed(desired, 2, DesiredState.STOPPED)], "stopped")
        found.append(seconds * 1000)
    return found


@contextlib.asynccontextmanager
async def loaded(directory: Path, installation: str, count: int) -> AsyncIterator[Load]:
    """Run a provisioner on a bus of its own."""
    server = NatsServer(directory / "nats")
    server.start()
    process = ProvisionerProcess(
        directory / "data", server.url, installation, CLAWSTEAD_DELETE_GRACE_SECONDS=str(DELETE_GRACE_SECONDS)
    )
    bus = Bus("bench", BusSettings(nats_url=server.url))
    await bus.connect()
    await topology.apply(bus.jetstream)
    process.start()
    await process.ready()
    observer = await Observer.start(server.url)
    try:
        yield Load(bus, observer, process, count)
    finally:
        await observer.close()
        await bus.close()
        process.kill()
        server.stop()


async def measure(rounds: int, count: int) -> None:
    """Measure everything, and leave nothing."""
    installation = f"bench-{new_instance_id()[-10:]}"
    client = docker.from_env(timeout=60)
    with tempfile.TemporaryDirectory(prefix="claw-bench-") as directory:
        try:
            async with loaded(Path(directory), installation, count) as load:
                await creates(load, rounds, client)
                await stubborn_deletes(load, client)
                await crashes(load, client, count // 2)
                await stops_during_a_pull(load, client, count // 2)
        finally:
            mine: dict[str, Any] = {"label": f"ing.clawstead.installation={installation}"}
            for container in client.containers.list(all=True, filters=mine):
                container.remove(force=True)
            for network in client.networks.list(filters=mine):
                network.remove()
            client.close()


def main() -> None:
    """Run a provisioner of our own, measure, and take everything down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=20)
    arguments = parser.parse_args()
    subprocess.run(["docker", "image", "inspect", STANDIN_IMAGE], check=True, capture_output=True)
    asyncio.run(measure(arguments.rounds, arguments.count))


if __name__ == "__main__":
    main()
