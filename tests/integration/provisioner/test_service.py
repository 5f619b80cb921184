"""The whole service, as a process, on a real bus and the real engine: secrets, crashes, poison, standby."""

import asyncio
import os
import random
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from clawstead_shared.events import DesiredState, Observed, Phase
from clawstead_shared.hosts import HostBudget
from clawstead_shared.ids import new_instance_id
from clawstead_shared.messaging import Bus
from clawstead_shared.streams import DEAD_LETTER_STREAM, HOSTS_BUCKET
from clawstead_shared.subjects import Topic, subject_of
from tests.support.nats_server import NatsServer
from tests.support.provisioner_process import ProvisionerProcess
from tests.support.provisioner_rig import wanted
from tests.support.wait import wait_until
from tests.support.wishes import TOKEN, changed, containers, entrust, until, want

pytestmark = pytest.mark.docker

Starter = Callable[[], ProvisionerProcess]


@pytest.fixture
def starter(tmp_path: Path, nats_server: NatsServer, installation: str, standin: None) -> Iterator[Starter]:
    processes: list[ProvisionerProcess] = []

    def start() -> ProvisionerProcess:
        process = ProvisionerProcess(tmp_path / "data", nats_server.url, installation)
        processes.append(process)
        process.start()
        return process

    yield start
    for process in processes:
        process.kill()


@pytest.fixture
async def process(bus: Bus, starter: Starter) -> ProvisionerProcess:
    """A ready provisioner on a declared bus."""
    started = starter()
    await started.ready()
    return started


async def test_sealed_secrets_reach_the_container_and_no_log(
    bus: Bus, process: ProvisionerProcess, docker_client: Any
) -> None:
    desired = wanted()
    await entrust(bus, desired)
    await want(bus, desired)
    await until(bus, desired, Phase.RUNNING)
    (container,) = containers(docker_client, desired)
    assert f"OPENCLAW_GATEWAY_TOKEN={TOKEN}" in container.attrs["Config"]["Env"]
    assert TOKEN not in process.log.read_text()
    assert 'clawstead_instances{phase="running"} 1.0' in process.metrics()
    await want(bus, changed(desired, 2, DesiredState.DELETED))
    await until(bus, changed(desired, 2, DesiredState.DELETED), Phase.REMOVED)
    assert containers(docker_client, desired) == []
    assert list((process.data_dir / "instances").iterdir()) == []


async def test_what_the_host_can_hold_is_published_and_again_when_it_got_lost(
    bus: Bus, process: ProvisionerProcess
) -> None:
    bucket = await bus.bucket(HOSTS_BUCKET)
    (host,) = await bucket.keys()
    body = (await bucket.get(host)).value
    assert body
    budget = HostBudget.read(body)
    assert host == socket.gethostname()
    assert budget.cpus == 8 * (os.cpu_count() or 1)
    assert budget.memory_bytes == round(1.5 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    assert budget.instances == 10001
    await bucket.put(host, b"something else")
    process.kill()
    process.start()
    await process.ready()
    assert (await bucket.get(host)).value == body


async def test_secrets_that_come_late_are_waited_for(bus: Bus, process: ProvisionerProcess) -> None:
    desired = wanted()
    await want(bus, desired)
    await asyncio.sleep(0.3)
    await entrust(bus, desired)
    await until(bus, desired, Phase.RUNNING)


async def test_killed_at_any_moment_of_a_create_it_converges(
    bus: Bus, process: ProvisionerProcess, docker_client: Any
) -> None:
    moments = random.Random(7)
    wants = [wanted() for _ in range(6)]
    for desired in wants:
        await entrust(bus, desired)
    for desired in wants:
        await want(bus, desired)
        await asyncio.sleep(moments.uniform(0.0, 0.5))
        process.kill()
        process.start()
        await process.ready()
    for desired in wants:
        await until(bus, desired, Phase.RUNNING)
        (container,) = containers(docker_client, desired)
        assert container.status == "running"
    ports = {containers(docker_client, desired)[0].labels["ing.clawstead.port"] for desired in wants}
    assert len(ports) == len(wants)
    for desired in wants:
        await want(bus, changed(desired, 2, DesiredState.DELETED))
    await asyncio.sleep(moments.uniform(0.0, 0.5))
    process.kill()
    process.start()
    for desired in wants:
        await until(bus, changed(desired, 2, DesiredState.DELETED), Phase.REMOVED)
        assert containers(docker_client, desired) == []
    assert list((process.data_dir / "instances").iterdir()) == []


async def test_what_happened_while_it_was_down_is_made_good_before_it_is_ready(
    bus: Bus, process: ProvisionerProcess, docker_client: Any
) -> None:
    killed, unwanted = wanted(), wanted()
    for desired in (killed, unwanted):
        await entrust(bus, desired)
        await want(bus, desired)
        await until(bus, desired, Phase.RUNNING)
    process.kill()
    (container,) = containers(docker_client, killed)
    await asyncio.to_thread(container.kill)
    await want(bus, changed(unwanted, 2, DesiredState.DELETED))
    process.start()
    await process.ready()
    assert containers(docker_client, unwanted) == []
    container.reload()
    assert container.status == "running"
    observed = await until(bus, killed, Phase.RUNNING)
    assert observed.restart_count == 1


async def test_poison_is_set_aside_and_the_others_go_on(bus: Bus, process: ProvisionerProcess) -> None:
    await bus.jetstream.publish(subject_of(Topic.DESIRED, new_instance_id()), b"not an event")
    desired = wanted()
    await entrust(bus, desired)
    await want(bus, desired)
    await until(bus, desired, Phase.RUNNING)

    async def dead_letters() -> int:
        return int((await bus.jetstream.stream_info(DEAD_LETTER_STREAM)).state.messages)

    assert await wait_until(dead_letters) == 1


async def test_a_second_one_stands_by_and_takes_over_within_ten_seconds(
    bus: Bus, process: ProvisionerProcess, starter: Starter, docker_client: Any
) -> None:
    before, after = wanted(), wanted()
    for desired in (before, after):
        await entrust(bus, desired)
    await want(bus, before)
    second = starter()
    waiting = await wait_until(second.waiting, timeout=20)
    assert waiting
    assert "standby" in waiting["lock"]
    observed = await until(bus, before, Phase.RUNNING)
    process.kill()
    async with asyncio.timeout(10):
        await second.ready()
    await want(bus, after)
    await until(bus, after, Phase.RUNNING)
    assert [len(containers(docker_client, desired)) for desired in (before, after)] == [1, 1]
    assert await until(bus, before, Phase.RUNNING) == observed


async def test_one_that_is_only_held_up_keeps_the_engine_to_itself(
    bus: Bus, process: ProvisionerProcess, starter: Starter, docker_client: Any
) -> None:
    desired = wanted()
    await entrust(bus, desired)
    process.send(signal.SIGSTOP)
    second = starter()
    await wait_until(second.waiting, timeout=20)
    await want(bus, desired)
    await asyncio.sleep(2)  # four times as long as a standby waits between its attempts
    assert "standby" in (second.waiting() or {})["lock"]
    assert containers(docker_client, desired) == []
    process.send(signal.SIGCONT)
    await until(bus, desired, Phase.RUNNING)
    assert len(containers(docker_client, desired)) == 1


async def test_told_to_stop_it_ends_soon_and_leaves_containers_running(
    bus: Bus, process: ProvisionerProcess, docker_client: Any
) -> None:
    desired = wanted()
    await entrust(bus, desired)
    await want(bus, desired)
    await until(bus, desired, Phase.RUNNING)
    async with asyncio.timeout(15):
        assert await asyncio.to_thread(process.stop) == 0
    assert [container.status for container in containers(docker_client, desired)] == ["running"]


async def test_a_graceful_stop_under_way_does_not_hold_up_its_end_and_is_completed_later(
    bus: Bus, process: ProvisionerProcess, docker_client: Any
) -> None:
    desired = wanted()
    knobs = process.data_dir / "instances" / desired.instance_id / "config" / "standin"
    knobs.mkdir(parents=True)
    (knobs / "ignore-term").touch()
    await entrust(bus, desired)
    await want(bus, desired)
    await until(bus, desired, Phase.RUNNING)
    await want(bus, changed(desired, 2, DesiredState.STOPPED))
    await until(bus, changed(desired, 2, DesiredState.STOPPED), Phase.STOPPING)
    async with asyncio.timeout(15):
        assert await asyncio.to_thread(process.stop) == 0
    process.start()
    await process.ready()
    deleted = changed(desired, 3, DesiredState.DELETED)
    await want(bus, deleted)
    await until(bus, deleted, Phase.REMOVED)
    assert containers(docker_client, desired) == []


async def test_a_bus_that_was_down_for_a_moment_costs_nothing(
    bus: Bus, process: ProvisionerProcess, nats_server: NatsServer, docker_client: Any
) -> None:
    desired = wanted()
    await entrust(bus, desired)
    await want(bus, desired)
    await until(bus, desired, Phase.RUNNING)
    nats_server.kill()
    (container,) = containers(docker_client, desired)
    await asyncio.to_thread(container.kill)
    await asyncio.sleep(1)
    nats_server.start()
    await wait_until(lambda: bus.connected)

    async def back() -> bool:
        container.reload()
        event = await bus.newest(Topic.OBSERVED, desired.instance_id)
        observed = event.data if event else None
        assert isinstance(observed, Observed)
        return container.status == "running" and observed.phase is Phase.RUNNING and observed.restart_count == 1

    await wait_until(back, timeout=30)
