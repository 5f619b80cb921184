"""The provisioner dies after each of its steps, once and twice: it converges, and nothing is doubled or told.

One installation for the whole matrix, with a bystander whose container must never notice. Of a case with two
crashes, the second instance is wished for right after the first crash. A standby takes over each time, which is
faster than a start.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker
import pytest

from clawstead_provisioner.crashpoints import Place
from clawstead_shared import topology
from clawstead_shared.events import Channel, Desired, DesiredState, Observed, Phase, Provider
from clawstead_shared.ids import new_instance_id
from clawstead_shared.messaging import Bus
from clawstead_shared.settings import BusSettings
from clawstead_shared.streams import PROVISIONER, STATE_STREAM
from tests.support.invariants import check_objects, check_secrecy, of_installation
from tests.support.nats_server import NatsServer
from tests.support.provisioner_process import ProvisionerProcess
from tests.support.provisioner_rig import wanted
from tests.support.wait import wait_until
from tests.support.wishes import changed, containers, entrust, until, want

pytestmark = pytest.mark.docker

SECRETS = {name: f"canary-{name}-" + "5ec7e7" * 8 for name in ("gateway_token", "bot_token", "api_key")}


@dataclass
class Site:
    """What all cases share: a bus, a provisioner that can be told to die, and the instances that live."""

    directory: Path
    installation: str
    server: NatsServer
    client: Any
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    living: list[Desired] = field(default_factory=list)
    bystander: Observed | None = None
    processes: list[ProvisionerProcess] = field(default_factory=list)
    """One is at work, one stands by."""
    logs: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.budget.mkdir()

    def start(self) -> None:
        """Start one more process."""
        process = ProvisionerProcess(
            self.directory / "data",
            self.server.url,
            self.installation,
            CLAWSTEAD_CRASHPOINT=",".join(Place),
            CLAWSTEAD_CRASHPOINT_BUDGET=str(self.budget),
            CLAWSTEAD_LOG_LEVEL="debug",
        )
        process.start()
        self.processes.append(process)
        self.logs.append(process.log)

    async def at_work(self) -> ProvisionerProcess:
        """Wait until one of the processes is ready."""

        def ready() -> ProvisionerProcess | None:
            return next((process for process in self.processes if process.waiting() == {}), None)

        found = await wait_until(ready, timeout=30, what="a provisioner ready")
        assert found
        return found

    async def died(self) -> None:
        """Wait until the one at work dies at a crash point, and replace it."""

        def dead() -> ProvisionerProcess | None:
            return next((process for process in self.processes if process.exit_code is not None), None)

        found = await wait_until(dead, timeout=30, what="a provisioner died")
        assert found
        assert found.exit_code == 137
        self.processes.remove(found)
        self.start()

    async def replace(self) -> None:
        """Kill the one at work."""
        process = await self.at_work()
        process.kill()
        self.processes.remove(process)
        self.start()

    def arm(self, place: Place, times: int) -> None:
        (self.budget / place).write_text(str(times))

    @property
    def budget(self) -> Path:
        return self.directory / "budget"

    @property
    def instances(self) -> Path:
        return self.directory / "data" / "instances"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, standin: None) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("crash")
    server = NatsServer(directory / "nats")
    server.start()
    client = docker.from_env(timeout=60)
    made = Site(directory, f"it-{new_instance_id()[-12:]}", server, client)
    yield made
    for process in made.processes:
        process.kill()
    server.stop()
    mine = of_installation(made.installation)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda one: one.remove(force=True), client.containers.list(all=True, filters=mine)))
    for network in client.networks.list(filters=mine):
        network.remove()
    client.close()


@pytest.fixture
async def bus(site: Site) -> AsyncIterator[Bus]:
    connected = Bus("test", BusSettings(nats_url=site.server.url))
    await connected.connect()
    await topology.apply(connected.jetstream)
    if not site.bystander:
        site.start()
        site.start()
        await site.at_work()
        desired = await wish(connected)
        await want(connected, desired)
        site.bystander = await until(connected, desired, Phase.RUNNING)
        site.living.append(desired)
    yield connected
    await connected.close()


async def wish(bus: Bus) -> Desired:
    """Return a desired state whose secrets are on the bus."""
    desired = wanted()
    spec = desired.spec.model_copy(update={"channel": Channel.TELEGRAM, "provider": Provider.ANTHROPIC})
    desired = desired.model_copy(update={"spec": spec})
    await entrust(bus, desired, **SECRETS)
    return desired


async def new(site: Site, bus: Bus) -> Desired:
    """An instance that nobody has seen."""
    return await wish(bus)


async def running(site: Site, bus: Bus) -> Desired:
    desired = await wish(bus)
    await want(bus, desired)
    await until(bus, desired, Phase.RUNNING)
    return desired


async def stoppable(site: Site, bus: Bus) -> Desired:
    return changed(await running(site, bus), 2, DesiredState.STOPPED)


async def deletable(site: Site, bus: Bus) -> Desired:
    return changed(await running(site, bus), 2, DesiredState.DELETED)


async def stopped_with_its_port_taken(site: Site, bus: Bus) -> Desired:
    desired = await stoppable(site, bus)
    await want(bus, desired)
    observed = await until(bus, desired, Phase.STOPPED)
    foreign = socket.create_server(("127.0.0.1", observed.port or 0))
    asyncio.get_running_loop().call_later(60, foreign.close)
    return changed(desired, 3, DesiredState.RUNNING)


Preparation = Callable[[Site, Bus], Awaitable[Desired]]
CASES: list[tuple[str, Place, Preparation]] = [
    ("C5", Place.EVENT_RECEIVED, new),
    ("C6", Place.LOCK_TAKEN, new),
    ("C8", Place.DIRECTORIES_MADE, new),
    ("C8", Place.NETWORK_MADE, new),
    ("C9", Place.CONTAINER_MADE, new),
    ("C10", Place.PORT_REFUSED, stopped_with_its_port_taken),
    ("C11", Place.CONTAINER_STARTED, new),
    ("C11", Place.GATEWAY_READY, new),
    ("C12", Place.PHASE_SAID, new),
    ("C12", Place.EVENT_HANDLED, new),
    ("C13", Place.FILE_HALF_WRITTEN, new),
    ("stop", Place.CONTAINER_STOPPED, stoppable),
    ("C18", Place.DELETE_SAID, deletable),
    ("C19", Place.DELETE_ENDED, deletable),
    ("C20", Place.CONTAINER_REMOVED, deletable),
    ("C20", Place.DIRECTORIES_REMOVED, deletable),
]
PHASE_OF = {
    DesiredState.RUNNING: Phase.RUNNING,
    DesiredState.STOPPED: Phase.STOPPED,
    DesiredState.DELETED: Phase.REMOVED,
}


async def crash(site: Site, bus: Bus, place: Place, wishes: list[Desired]) -> None:
    """Publish each wish in turn, and have the provisioner die at ``place`` each time."""
    site.arm(place, len(wishes))
    for desired in wishes:
        await want(bus, desired)
        if place is Place.LOCK_TAKEN:
            await site.replace()
        await site.died()
    assert (site.budget / place).read_text() == "0"


async def check(site: Site, bus: Bus, wishes: list[Desired]) -> None:
    """Whatever was wished for is so, and nothing else is."""
    for desired in wishes:
        await until(bus, desired, PHASE_OF[desired.desired_state])
    await site.at_work()
    site.living += [desired for desired in wishes if desired.desired_state is not DesiredState.DELETED]
    living = [desired.instance_id for desired in site.living]
    check_objects(site.client, site.installation, site.instances, living)
    for desired in wishes:
        for container in containers(site.client, desired):
            assert container.status == ("running" if desired.desired_state is DesiredState.RUNNING else "exited")
    assert site.bystander == await until(bus, site.living[0], Phase.RUNNING)


@pytest.mark.parametrize("crashes", [1, 2])
@pytest.mark.parametrize(("row", "place", "prepare"), CASES)
async def test_it_converges_after_dying(
    site: Site, bus: Bus, row: str, place: Place, prepare: Preparation, crashes: int
) -> None:
    wishes = list(await asyncio.gather(*(prepare(site, bus) for _ in range(crashes))))
    await crash(site, bus, place, wishes)
    await check(site, bus, wishes)


@pytest.mark.parametrize("crashes", [1, 2])
async def test_c21_a_delete_that_comes_while_a_create_is_cut_off_wins(site: Site, bus: Bus, crashes: int) -> None:
    created = [await wish(bus) for _ in range(crashes)]
    site.arm(Place.CONTAINER_MADE, 1)
    site.arm(Place.DELETE_SAID, crashes - 1)
    for desired in created:
        await want(bus, desired)
    await wait_until(lambda: (site.budget / Place.CONTAINER_MADE).read_text() == "0")
    deleted = [changed(desired, 2, DesiredState.DELETED) for desired in created]
    for desired in deleted:
        await want(bus, desired)
    for _ in range(crashes):
        await site.died()
    await check(site, bus, deleted)


@pytest.mark.parametrize("crashes", [1, 2])
async def test_c22_c23_replayed_events_of_a_deleted_instance_bring_nothing_back(
    site: Site, bus: Bus, crashes: int
) -> None:
    deleted = await deletable(site, bus)
    await want(bus, deleted)
    await until(bus, deleted, Phase.REMOVED)
    site.arm(Place.EVENT_RECEIVED, crashes)
    for _ in range(crashes):
        await replay(bus)
        await site.died()
    await replay(bus)

    async def replayed() -> bool:
        info = await bus.jetstream.consumer_info(STATE_STREAM, PROVISIONER.durable)
        return not info.num_pending and not info.num_ack_pending

    await wait_until(replayed, timeout=30)
    await check(site, bus, [deleted])


async def replay(bus: Bus) -> None:
    """Have every event delivered again."""
    await bus.jetstream.delete_consumer(STATE_STREAM, PROVISIONER.durable)
    await topology.apply(bus.jetstream)


async def test_no_secret_was_told_in_all_this(site: Site, bus: Bus) -> None:
    await check_secrecy(SECRETS.values(), site.client, bus, site.installation, site.logs, site.since)
