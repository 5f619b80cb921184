"""The engine killed, stopped, hung or late: other work goes on, and everything wanted runs again, once, soon after."""

import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clawstead_shared import topology
from clawstead_shared.events import Desired, DesiredState, Phase, Reason
from clawstead_shared.messaging import Bus
from clawstead_shared.settings import BusSettings
from tests.support.factories import STANDIN_IMAGE
from tests.support.invariants import check_objects
from tests.support.nats_server import NatsServer
from tests.support.private_engine import PrivateEngine, network_namespace
from tests.support.provisioner_process import ProvisionerProcess
from tests.support.provisioner_rig import wanted
from tests.support.wait import wait_until
from tests.support.wishes import changed, containers, entrust, newest, until, want

pytestmark = pytest.mark.docker

INSTALLATION = "private"
BACK_SECONDS = 90


@dataclass
class Site:
    """An engine, a bus and a provisioner, in a network namespace of their own."""

    engine: PrivateEngine
    server: NatsServer
    process: ProvisionerProcess
    client: Any = None

    async def engine_up(self) -> None:
        self.engine.start()
        await wait_until(self.engine.answers, timeout=30, what="engine up")

    def check(self, *living: Desired) -> None:
        instances = self.process.data_dir / "instances"
        ids = [desired.instance_id for desired in living]
        check_objects(self.client, INSTALLATION, instances, ids)

    def says_engine(self) -> bool:
        return "engine" in (self.process.waiting() or {})


@pytest.fixture(scope="module")
def engine(standin: None) -> Iterator[PrivateEngine]:
    with network_namespace() as outside:
        made = PrivateEngine(outside)
        try:
            yield made
        finally:
            made.remove()


@pytest.fixture
async def site(engine: PrivateEngine, tmp_path: Path) -> AsyncIterator[Site]:
    server = NatsServer(tmp_path / "nats")
    server.start()
    process = ProvisionerProcess(tmp_path / "data", server.url, INSTALLATION, DOCKER_HOST=engine.url)
    made = Site(engine, server, process)
    await made.engine_up()
    made.client = engine.client()
    engine.take_image(STANDIN_IMAGE)
    try:
        yield made
    finally:
        process.kill()
        server.stop()
    # A test that failed may have left it ended or hung, with containers of which the next test must not know.
    if engine.started:
        engine.send(signal.SIGCONT)
    else:
        await made.engine_up()
    for container in made.client.containers.list(all=True):
        container.remove(force=True)
    made.client.networks.prune()
    made.client.close()
    engine.end(signal.SIGTERM)


@pytest.fixture
async def bus(site: Site) -> AsyncIterator[Bus]:
    connected = Bus("test", BusSettings(nats_url=site.server.url))
    await connected.connect()
    await topology.apply(connected.jetstream)
    site.process.start()
    await site.process.ready()
    yield connected
    await connected.close()


async def wish(bus: Bus) -> Desired:
    desired = wanted()
    await entrust(bus, desired)
    await want(bus, desired)
    return desired


async def three_running_one_stopped(bus: Bus) -> tuple[list[Desired], Desired]:
    running = [await wish(bus) for _ in range(4)]
    for desired in running:
        await until(bus, desired, Phase.RUNNING)
    stopped = changed(running.pop(), 2, DesiredState.STOPPED)
    await want(bus, stopped)
    await until(bus, stopped, Phase.STOPPED)
    return running, stopped


async def serving(site: Site, bus: Bus, wants: list[Desired]) -> None:
    """Wait until all are said to run, and do."""

    async def all_serve() -> bool:
        for desired in wants:
            observed = await newest(bus, desired)
            (container,) = containers(site.client, desired) or (None,)
            if not (observed and observed.phase is Phase.RUNNING and container and container.status == "running"):
                return False
            if observed.container_id != container.id:
                return False
        return True

    await wait_until(all_serve, timeout=BACK_SECONDS, what="everything runs again")


async def test_killed_it_is_missed_and_everything_runs_again_once_it_is_back(site: Site, bus: Bus) -> None:
    running, stopped = await three_running_one_stopped(bus)
    site.engine.end(signal.SIGKILL)
    await wait_until(site.says_engine, timeout=15)
    new = await wish(bus)
    assert (await until(bus, new, Phase.FAILED)).reason is Reason.ENGINE_UNAVAILABLE
    # Containers outlive a killed engine, so it would be wrong to say that they ended.
    assert [(await until(bus, desired, Phase.RUNNING)).reason for desired in running] == [None] * 3
    await site.engine_up()
    await serving(site, bus, [*running, new])
    await until(bus, stopped, Phase.STOPPED)
    site.check(*running, new, stopped)
    await site.process.ready()


async def test_stopped_it_takes_its_containers_along_and_that_is_said(site: Site, bus: Bus) -> None:
    running, stopped = await three_running_one_stopped(bus)
    deleted = changed(running.pop(), 2, DesiredState.DELETED)
    site.engine.end(signal.SIGTERM)
    await wait_until(site.says_engine, timeout=15)
    await want(bus, deleted)
    for desired in running:
        assert (await until(bus, desired, Phase.FAILED)).reason is Reason.ENGINE_UNAVAILABLE
    await until(bus, stopped, Phase.STOPPED)
    await site.engine_up()
    await serving(site, bus, running)
    await until(bus, deleted, Phase.REMOVED, timeout=BACK_SECONDS)
    site.check(*running, stopped)


async def test_hung_it_is_missed_and_nothing_is_lost_or_doubled(site: Site, bus: Bus) -> None:
    running, stopped = await three_running_one_stopped(bus)
    site.engine.send(signal.SIGSTOP)
    new = await wish(bus)
    await wait_until(site.says_engine, timeout=20)
    assert "no answer" in (site.process.waiting() or {})["engine"]
    assert "clawstead_instances" in site.process.metrics()
    deleted = changed(new, 2, DesiredState.DELETED)
    other = await wish(bus)
    await want(bus, deleted)
    site.engine.send(signal.SIGCONT)
    await serving(site, bus, [*running, other])
    await until(bus, deleted, Phase.REMOVED, timeout=BACK_SECONDS)
    assert [(await until(bus, desired, Phase.RUNNING)).restart_count for desired in running] == [0, 0, 0]
    site.check(*running, other, stopped)
    await wait_until(lambda: not site.says_engine(), timeout=20)


async def test_an_engine_that_comes_late_is_waited_for(site: Site, bus: Bus) -> None:
    site.process.kill()
    site.engine.end(signal.SIGTERM)
    desired = wanted()
    await entrust(bus, desired)
    await want(bus, desired)
    site.process.start()
    assert (await until(bus, desired, Phase.FAILED)).reason is Reason.ENGINE_UNAVAILABLE
    await wait_until(site.says_engine)
    site.engine.start()
    # A start that takes its time: the socket is there before anything answers.
    await wait_until((site.engine.directory / "docker.sock").exists)
    site.engine.send(signal.SIGSTOP)
    assert site.says_engine()
    site.engine.send(signal.SIGCONT)
    await serving(site, bus, [desired])
    site.check(desired)
