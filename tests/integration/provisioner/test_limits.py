"""Limits on the real engine: how many start at once, and what each may use."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from clawstead_provisioner.adapters.docker_engine import DockerEngine
from clawstead_provisioner.adapters.gateway_http import HttpGateway
from clawstead_shared.events import Desired, DesiredState, Phase, Reason, RestartRequest, WarningCode
from clawstead_shared.subjects import Topic
from tests.integration.provisioner.test_lifecycle import change, directory, knob, name_of, running, running_again
from tests.support.factories import make_limits, make_spec
from tests.support.fake_bus import FakeBus
from tests.support.provisioner_rig import FakeSecrets, Rig, provisioner, wanted
from tests.support.wait import wait_until

pytestmark = pytest.mark.docker

MIB = 1024 * 1024


@pytest.fixture
async def rig(tmp_path: Path, installation: str, standin: None) -> AsyncIterator[Rig]:
    async with provisioner(
        tmp_path / "data",
        bus=FakeBus(),
        engine=DockerEngine(installation),
        gateway=HttpGateway("127.0.0.1"),
        secrets=FakeSecrets(),
        installation=installation,
        unresponsive_stop_grace_seconds=2,
        boots_at_once=2,
        provision_deadline_seconds=5,
    ) as assembled:
        yield assembled


async def test_no_more_than_two_slow_gateways_start_at_the_same_time(rig: Rig) -> None:
    wants = [wanted() for _ in range(5)]
    for desired in wants:
        knob(rig, desired, "boot-delay", "1")
    await asyncio.gather(*(rig.want(desired) for desired in wants))
    for desired in wants:
        await rig.until(desired.instance_id, Phase.RUNNING, timeout=60)
    booting, most = set(), 0
    for event in rig.bus.of(Topic.OBSERVED):
        if event.data.phase is Phase.STARTING:
            booting.add(event.instance_id)
        elif event.data.phase is Phase.RUNNING:
            booting.discard(event.instance_id)
        most = max(most, len(booting))
    # Ready frees the slot, a moment before that is said.
    assert 2 <= most <= 4


async def test_a_delete_of_one_that_waits_its_turn_does_not_wait(rig: Rig) -> None:
    wants = [wanted() for _ in range(3)]
    for desired in wants:
        knob(rig, desired, "boot-delay", "30")
        await rig.want(desired)
    await rig.until(wants[2].instance_id, Phase.PROVISIONING)
    async with asyncio.timeout(10):
        for desired in wants:
            await change(rig, desired, 2, desired_state=DesiredState.DELETED)
    for desired in wants:
        await rig.until(desired.instance_id, Phase.REMOVED)


def limits_of(docker_client: Any, desired: Desired) -> tuple[int, int, int, int]:
    host = docker_client.containers.get(name_of(desired)).attrs["HostConfig"]
    return host["Memory"], host["MemorySwap"], host["NanoCpus"], host["PidsLimit"]


def with_limits(desired: Desired, generation: int, **limits: Any) -> Desired:
    spec = make_spec(desired.instance_id, limits=make_limits(**limits))
    return desired.model_copy(update={"generation": generation, "spec": spec})


async def test_a_larger_and_then_a_smaller_plan_are_given_to_the_same_start(rig: Rig, docker_client: Any) -> None:
    desired, before = await running(rig)
    await rig.want(with_limits(desired, 2, memory_bytes=512 * MIB, cpus=1, pids=300))
    larger = await rig.until(desired.instance_id, Phase.RUNNING)
    assert limits_of(docker_client, desired) == (512 * MIB, 512 * MIB, 10**9, 300)
    await rig.want(with_limits(desired, 3, memory_bytes=128 * MIB, cpus=0.25, pids=200))
    smaller = await rig.until(desired.instance_id, Phase.RUNNING)
    assert limits_of(docker_client, desired) == (128 * MIB, 128 * MIB, 250_000_000, 200)
    assert (larger.generation, smaller.generation) == (2, 3)
    assert before.started_at == larger.started_at == smaller.started_at
    assert WarningCode.RESTART_PENDING in [warning.code for warning in smaller.warnings]


async def test_less_memory_than_the_gateway_uses_is_refused_until_it_is_restarted(rig: Rig, docker_client: Any) -> None:
    desired, before = await running(rig)
    container = docker_client.containers.get(name_of(desired))
    assert container.exec_run(["dd", "if=/dev/zero", "of=/tmp/used", "bs=1M", "count=100"]).exit_code == 0
    smaller = with_limits(desired, 2, memory_bytes=64 * MIB, cpus=0.25)
    await rig.want(smaller)
    refused = await rig.until(desired.instance_id, Phase.RUNNING)
    assert (refused.reason, refused.started_at) == (Reason.RESIZE_REFUSED, before.started_at)
    assert limits_of(docker_client, desired) == (256 * MIB, 256 * MIB, 250_000_000, 512)
    request = RestartRequest(count=1, judged_start=before.started_at)
    await rig.want(smaller.model_copy(update={"generation": 3, "restart": request}))
    after = await running_again(rig, desired, before)
    assert (after.reason, after.port) == (None, before.port)
    assert limits_of(docker_client, desired)[0] == 64 * MIB


async def test_one_that_waits_too_long_for_its_turn_says_so_and_still_gets_it(rig: Rig) -> None:
    first, second, third = wanted(), wanted(), wanted()
    for desired in (first, second):
        knob(rig, desired, "boot-delay", "60")
        await rig.want(desired)
    await rig.want(third)
    observed = await rig.until(third.instance_id, Phase.FAILED, timeout=20)
    assert observed.reason is Reason.DEADLINE_EXCEEDED
    assert "waiting for other starts" in (observed.message or "")
    await change(rig, first, 2, desired_state=DesiredState.DELETED)
    await rig.until(third.instance_id, Phase.RUNNING, timeout=40)


async def test_a_forced_delete_kills_at_once_and_removes_what_was_left_when_it_can(
    rig: Rig, docker_client: Any
) -> None:
    desired = wanted()
    knob(rig, desired, "ignore-term")
    await running(rig, desired)
    stuck = directory(rig, desired) / "workspace" / "stuck"
    stuck.touch()
    subprocess.run(["chattr", "+i", stuck], check=True)
    try:
        async with asyncio.timeout(10):
            await change(rig, desired, 2, desired_state=DesiredState.DELETED, force=True)
        observed = await rig.until(desired.instance_id, Phase.REMOVED)
        assert observed.reason is Reason.LEFTOVERS
        assert "directories" in (observed.message or "")
        mine = {"label": f"ing.clawstead.instance={desired.instance_id}"}
        assert docker_client.containers.list(all=True, filters=mine) == []
        assert docker_client.networks.list(filters=mine) == []
    finally:
        subprocess.run(["chattr", "-i", stuck], check=True)
    await rig.sweep.once()

    async def clean() -> bool:
        last = await rig.observed(desired.instance_id)
        return last is not None and (last.phase, last.reason) == (Phase.REMOVED, None)

    await wait_until(clean, timeout=20)
    assert not directory(rig, desired).exists()
