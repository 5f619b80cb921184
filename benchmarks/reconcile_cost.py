"""What it costs to know many instances: memory of the provisioner, CPU time of its boot and of each sweep.

A real provisioner process on a real bus; the engine is a double that answers for containers that all run. Each
instance has a desired and an observed state, as after a restart of the provisioner of a busy host.

    python -m benchmarks.reconcile_cost [--instances 1000] [--sweeps 5]
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.engine_double import IMAGE_DIGEST, STARTED, EngineDouble
from clawstead_shared import topology
from clawstead_shared.events import Desired, ImageVersion, Phase
from clawstead_shared.messaging import Bus
from clawstead_shared.settings import BusSettings
from tests.support.factories import desired_event, make_desired, make_limits, make_observed, make_spec, observed_event
from tests.support.nats_server import NatsServer
from tests.support.provisioner_process import ProvisionerProcess

INSTALLATION = "bench-reconcile"
MIB = 1024 * 1024
FIRST_PORT = 10000
INTERVAL_SECONDS = 3


def made(number: int) -> Desired:
    """Return an instance of the smallest plan."""
    desired = make_desired()
    limits = make_limits(cpus=0.5, memory_bytes=1536 * MIB, sessions=5)
    spec = make_spec(desired.instance_id, name=f"instance {number}", limits=limits)
    return desired.model_copy(update={"spec": spec})


async def publish(bus: Bus, engine: EngineDouble, instances: list[Desired]) -> None:
    """Put both states of every instance on the bus."""
    for desired in instances:
        observed = make_observed(
            desired.instance_id,
            phase=Phase.RUNNING,
            container_id=engine.container_id(desired.instance_id),
            started_at=STARTED,
            port=engine.port(desired.instance_id),
            image_digest=IMAGE_DIGEST,
            image=ImageVersion(reference=desired.spec.image, digest=IMAGE_DIGEST),
            owner_id=desired.spec.owner_id,
        )
        await bus.publish(desired_event(desired))
        await bus.publish(observed_event(observed))


def used(process: psutil.Process) -> float:
    """Return the CPU seconds that a process used."""
    times = process.cpu_times()
    return float(times.user + times.system)


async def measure(directory: Path, nats: NatsServer, count: int, sweeps: int) -> None:
    """Print memory and CPU time."""
    instances = [made(number) for number in range(count)]
    bus = Bus("bench", BusSettings(nats_url=nats.url))
    await bus.connect()
    await topology.apply(bus.jetstream)
    async with EngineDouble(directory / "engine.sock", INSTALLATION, instances, FIRST_PORT) as engine:
        await publish(bus, engine, instances)
        provisioner = ProvisionerProcess(
            directory / "data",
            nats.url,
            INSTALLATION,
            DOCKER_HOST=f"unix://{engine.socket}",
            CLAWSTEAD_RECONCILE_INTERVAL_SECONDS=str(INTERVAL_SECONDS),
        )
        begun = time.monotonic()
        provisioner.start()
        try:
            await provisioner.ready()
            process = psutil.Process(provisioner.pid)
            print(f"ready after {time.monotonic() - begun:.1f} s, {used(process):.2f} s of CPU, start-up included")
            await next_sweep(engine)
            before, lists = used(process), engine.lists
            while engine.lists < lists + sweeps:
                await next_sweep(engine)
            each = (used(process) - before) / sweeps
            print(
                f"{count} instances: {each:.3f} s of CPU per sweep, all else in {INTERVAL_SECONDS} s included (goal 2)"
            )
            print(f"{count} instances: {process.memory_info().rss / MIB:.1f} MiB RSS (goal 120)")
        finally:
            provisioner.stop()
    await bus.close()


async def next_sweep(engine: EngineDouble) -> None:
    """Wait until the engine was listed again and the sweep that asked is over."""
    lists = engine.lists
    while engine.lists == lists:
        await asyncio.sleep(0.05)
    await asyncio.sleep(INTERVAL_SECONDS / 2)


def main() -> None:
    """Start everything, measure, and take everything down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=1000)
    parser.add_argument("--sweeps", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        nats = NatsServer(Path(name) / "nats")
        nats.start()
        try:
            asyncio.run(measure(Path(name), nats, arguments.instances, arguments.sweeps))
        finally:
            nats.stop()


if __name__ == "__main__":
    main()
