"""Instances on the real engine: made, stopped, broken by hand, brought back, and gone without a trace."""

import asyncio
import os
import socket
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from clawstead_provisioner.port_allocation import candidates
from clawstead_shared.events import Desired, DesiredState, Observed, Phase, Reason, RestartRequest
from tests.support.factories import STANDIN_IMAGE
from tests.support.provisioner_rig import Rig, wanted
from tests.support.updates import told
from tests.support.wait import wait_until

pytestmark = pytest.mark.docker


def name_of(desired: Desired) -> str:
    return f"claw-{desired.instance_id}"


def directory(rig: Rig, desired: Desired) -> Path:
    return rig.settings.instances_dir / desired.instance_id


def knob(rig: Rig, desired: Desired, name: str, content: str = "") -> Path:
    """Tell the stand-in how to behave at its next start."""
    knobs = directory(rig, desired) / "config" / "standin"
    knobs.mkdir(parents=True, exist_ok=True)
    (knobs / name).write_text(content)
    for path in (directory(rig, desired) / "config", knobs, knobs / name):
        os.chown(path, 1000, 1000)
    return knobs / name


async def running(rig: Rig, desired: Desired | None = None) -> tuple[Desired, Observed]:
    desired = desired or wanted()
    await rig.want(desired)
    return desired, await rig.until(desired.instance_id, Phase.RUNNING, timeout=30)


async def running_again(rig: Rig, desired: Desired, before: Observed) -> Observed:
    async def again() -> Observed | None:
        observed = await rig.observed(desired.instance_id)
        restarted = observed and observed.phase is Phase.RUNNING and observed.started_at != before.started_at
        return observed if restarted else None

    found = await wait_until(again, timeout=30, what="running again")
    assert found
    return found


async def change(rig: Rig, desired: Desired, generation: int, **fields: Any) -> None:
    await rig.want(desired.model_copy(update={"generation": generation, **fields}))


async def test_a_created_instance_serves_on_its_port_as_an_unprivileged_user(rig: Rig, docker_client: Any) -> None:
    desired, observed = await running(rig)
    assert await rig.gateway.answers(observed.port, "/healthz")
    container = docker_client.containers.get(name_of(desired))
    code, output = container.exec_run(["sh", "-c", "id -u; touch /x; touch ~/.openclaw/mine ~/.config/openclaw/mine"])
    assert "1000" in output.decode().splitlines()
    assert "Read-only file system" in output.decode()
    assert code == 0
    assert (directory(rig, desired) / "config" / "mine").stat().st_uid == 1000
    assert (directory(rig, desired) / "auth" / "mine").exists()
    settings = container.attrs["HostConfig"]
    assert settings["PortBindings"]["18789/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": str(observed.port)}]
    assert settings["CapDrop"] == ["ALL"]
    assert container.attrs["Config"]["Hostname"] == desired.instance_id


async def test_deleting_leaves_no_container_network_or_directory(rig: Rig, docker_client: Any) -> None:
    desired, observed = await running(rig)
    await change(rig, desired, 2, desired_state=DesiredState.DELETED)
    await rig.until(desired.instance_id, Phase.REMOVED, timeout=30)
    mine = {"label": f"ing.clawstead.instance={desired.instance_id}"}
    assert docker_client.containers.list(all=True, filters=mine) == []
    assert docker_client.networks.list(filters=mine) == []
    assert not directory(rig, desired).exists()
    with socket.create_server(("127.0.0.1", observed.port or 0)):
        pass


async def test_stop_and_start_bring_the_same_data_back(rig: Rig) -> None:
    desired, before = await running(rig)
    (directory(rig, desired) / "workspace" / "mine").write_text("data")
    await change(rig, desired, 2, desired_state=DesiredState.STOPPED)
    stopped = await rig.until(desired.instance_id, Phase.STOPPED, timeout=30)
    assert not await rig.gateway.answers(stopped.port, "/healthz")
    await change(rig, desired, 3)
    after = await running_again(rig, desired, before)
    assert (after.container_id, after.port, after.restart_count) == (before.container_id, before.port, 0)
    assert (directory(rig, desired) / "workspace" / "mine").read_text() == "data"


async def test_a_restart_is_one_new_start(rig: Rig) -> None:
    desired, before = await running(rig)
    request = RestartRequest(count=1, judged_start=before.started_at)
    await change(rig, desired, 2, restart=request)
    after = await running_again(rig, desired, before)
    await change(rig, desired, 2, restart=request)
    assert await rig.observed(desired.instance_id) == after
    assert (after.container_id, after.restart_count) == (before.container_id, 0)


async def test_a_killed_container_comes_back(rig: Rig, docker_client: Any) -> None:
    desired, before = await running(rig)
    await asyncio.to_thread(docker_client.containers.get(name_of(desired)).kill)
    after = await running_again(rig, desired, before)
    assert (after.container_id, after.port, after.restart_count) == (before.container_id, before.port, 1)
    assert after.exit
    assert after.exit.code == 137


async def test_a_crashed_process_is_counted_once_though_the_engine_restarts_it_itself(
    rig: Rig, docker_client: Any
) -> None:
    desired, before = await running(rig)
    container = docker_client.containers.get(name_of(desired))
    container.exec_run(["sh", "-c", "kill -9 $(pidof httpd)"])
    after = await running_again(rig, desired, before)
    assert (after.container_id, after.restart_count) == (before.container_id, 1)


async def test_a_container_removed_by_hand_comes_back_with_port_network_and_data(rig: Rig, docker_client: Any) -> None:
    desired, before = await running(rig)
    (directory(rig, desired) / "workspace" / "mine").write_text("data")
    network = docker_client.networks.get(name_of(desired)).attrs["IPAM"]
    await asyncio.to_thread(docker_client.containers.get(name_of(desired)).remove, force=True)
    after = await running_again(rig, desired, before)
    assert after.container_id != before.container_id
    assert after.port == before.port
    assert docker_client.networks.get(name_of(desired)).attrs["IPAM"] == network
    assert (directory(rig, desired) / "workspace" / "mine").read_text() == "data"


async def test_a_config_that_the_gateway_refuses_stops_it_for_good(rig: Rig, docker_client: Any) -> None:
    desired = wanted()
    code = knob(rig, desired, "exit-code", "78")
    await rig.want(desired)
    observed = await rig.until(desired.instance_id, Phase.FAILED, timeout=30)
    assert observed.reason is Reason.CONFIG_INVALID
    assert "exiting with 78" in (observed.message or "")
    container = docker_client.containers.get(name_of(desired))
    started = container.attrs["State"]["StartedAt"]
    await rig.sweep.once()
    await asyncio.sleep(0.5)
    container.reload()
    assert container.status == "exited"
    assert container.attrs["State"]["StartedAt"] == started
    code.unlink()
    await change(rig, desired, 2)
    await rig.until(desired.instance_id, Phase.RUNNING, timeout=30)


async def test_a_gateway_that_always_crashes_is_given_up(rig: Rig, docker_client: Any) -> None:
    desired = wanted()
    knob(rig, desired, "exit-code", "3")
    await rig.want(desired)
    observed = await rig.until(desired.instance_id, Phase.FAILED, timeout=60)
    assert observed.reason is Reason.CRASH_LOOP
    assert "exit code 3" in (observed.message or "")
    assert docker_client.containers.get(name_of(desired)).status == "exited"


async def test_a_foreign_process_on_the_port_is_avoided(rig: Rig) -> None:
    desired = wanted()
    first = next(candidates(desired.instance_id, 10000, 20000))
    with socket.create_server(("0.0.0.0", first)):
        _, observed = await running(rig, desired)
    assert observed.port != first


async def test_a_port_that_was_taken_while_stopped_is_given_up_for_another(rig: Rig, docker_client: Any) -> None:
    desired, before = await running(rig)
    await change(rig, desired, 2, desired_state=DesiredState.STOPPED)
    await rig.until(desired.instance_id, Phase.STOPPED, timeout=30)
    with socket.create_server(("127.0.0.1", before.port or 0)):
        await change(rig, desired, 3)
        after = await running_again(rig, desired, before)
    assert after.port != before.port
    mine = {"label": f"ing.clawstead.instance={desired.instance_id}"}
    assert len(docker_client.containers.list(all=True, filters=mine)) == 1
    assert len(docker_client.networks.list(filters=mine)) == 1


async def test_a_foreign_container_of_our_name_is_left_alone(rig: Rig, docker_client: Any) -> None:
    desired = wanted()
    foreign = docker_client.containers.create(STANDIN_IMAGE, name=name_of(desired))
    try:
        await rig.want(desired)
        observed = await rig.until(desired.instance_id, Phase.FAILED, timeout=30)
        assert observed.reason is Reason.NAME_TAKEN
        await change(rig, desired, 2, desired_state=DesiredState.DELETED)
        await rig.until(desired.instance_id, Phase.REMOVED, timeout=30)
        foreign.reload()
    finally:
        foreign.remove(force=True)
    assert docker_client.networks.list(names=[name_of(desired)]) == []


async def test_a_foreign_network_on_our_subnet_is_moved_away_from(rig: Rig, docker_client: Any) -> None:
    desired = wanted()
    port = next(candidates(desired.instance_id, 10000, 20000))
    subnet = rig.reconciler._tools.blueprints._site.network(desired.instance_id, port).subnet
    client = docker_client.api
    pool = {"Config": [{"Subnet": subnet}]}
    foreign = client.create_network(f"foreign-{desired.instance_id}", ipam=pool)
    try:
        _, observed = await running(rig, desired)
        assert observed.port != port
    finally:
        client.remove_network(foreign["Id"])


async def test_a_guest_in_our_network_does_not_hold_a_delete(rig: Rig, docker_client: Any) -> None:
    desired, _ = await running(rig)
    guest = docker_client.containers.run(STANDIN_IMAGE, detach=True, network=name_of(desired), init=True)
    try:
        await change(rig, desired, 2, desired_state=DesiredState.DELETED)
        await rig.until(desired.instance_id, Phase.REMOVED, timeout=30)
        guest.reload()
        assert guest.status == "running"
        assert docker_client.networks.list(names=[name_of(desired)]) == []
    finally:
        guest.remove(force=True)


async def test_a_delete_ends_a_stop_that_the_gateway_ignores(rig: Rig) -> None:
    desired = wanted()
    knob(rig, desired, "ignore-term")
    await running(rig, desired)
    await change(rig, desired, 2, desired_state=DesiredState.STOPPED)
    await asyncio.sleep(0.3)
    observed = await rig.observed(desired.instance_id)
    assert observed
    assert observed.phase is Phase.STOPPING
    async with asyncio.timeout(15):
        await change(rig, desired, 3, desired_state=DesiredState.DELETED)
    assert rig.phases(desired.instance_id)[-2:] == [Phase.DELETING, Phase.REMOVED]


async def test_a_slow_boot_is_starting_until_it_is_ready(rig: Rig) -> None:
    desired = wanted()
    knob(rig, desired, "boot-delay", "1")
    await running(rig, desired)
    seen = told(rig, desired)
    # "starting" is said when the start is asked for, and again when that turns out to be slow.
    assert [phase for phase, _ in groupby(seen, attrgetter("phase"))] == [
        Phase.PROVISIONING,
        Phase.STARTING,
        Phase.RUNNING,
    ]
    assert all(observed.port for observed in seen if observed.phase is Phase.STARTING)


async def test_neighbours_cannot_reach_each_other(rig: Rig, docker_client: Any) -> None:
    (one, _), (other, _) = await asyncio.gather(running(rig), running(rig))
    networks = docker_client.containers.get(name_of(other)).attrs["NetworkSettings"]["Networks"]
    address = networks[name_of(other)]["IPAddress"]
    ask = ["sh", "-c", f"echo | nc -w 2 {address} 18789"]
    assert docker_client.containers.get(name_of(other)).exec_run(ask).exit_code == 0
    assert docker_client.containers.get(name_of(one)).exec_run(ask).exit_code != 0
