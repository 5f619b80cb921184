"""Limits on the real engine: how many start at once, and what each may use."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from clawstead_provisioner.adapters.docker_engine import DockerEngine
from clawstead_provisioner.adapters.gateway_http import HttpGateway
from clawstead_shared.events import DesiredState, Phase
from clawstead_shared.subjects import Topic
from tests.integration.provisioner.test_lifecycle import change, knob
from tests.support.fake_bus import FakeBus
from tests.support.provisioner_rig import FakeSecrets, Rig, provisioner, wanted

pytestmark = pytest.mark.docker


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
