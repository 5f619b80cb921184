"""Updates on the real engine, from a real registry: pulled, tried, confirmed, rolled back, cut off in the middle."""

import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from clawstead_provisioner.adapters.docker_engine import DockerEngine
from clawstead_provisioner.adapters.gateway_http import HttpGateway
from clawstead_shared.events import Desired, DesiredState, EventType, Observed, Phase, Reason
from clawstead_shared.subjects import Topic
from tests.support.factories import make_limits, make_spec
from tests.support.fake_bus import FakeBus
from tests.support.provisioner_rig import FakeSecrets, Rig, provisioner, wanted
from tests.support.registry import BREAKS, HANGS, SERVES, Registry
from tests.support.updates import directory, quick_probation, settled, told
from tests.support.wait import wait_until

pytestmark = pytest.mark.docker

TOO_SLOW = 64 << 10
"""At so many bytes per second a ballast of 4 MiB takes longer than any wait here."""


@pytest.fixture
async def rig(tmp_path: Path, registry: Registry, installation: str) -> AsyncIterator[Rig]:
    async with assembled(tmp_path, installation, FakeBus()) as rig:
        yield rig


def assembled(tmp_path: Path, installation: str, bus: FakeBus, probation: float = 1) -> Any:
    return provisioner(
        tmp_path / "data",
        bus=bus,
        engine=DockerEngine(installation),
        gateway=HttpGateway("127.0.0.1"),
        secrets=FakeSecrets(),
        installation=installation,
        unresponsive_stop_grace_seconds=2,
        start_timeout_seconds=5,
        probation_seconds=probation,
    )


def of(registry: Registry, tag: str, desired: Desired, generation: int, **spec: Any) -> Desired:
    fields = {"image": f"{registry.repository}:{tag}", "image_revision": generation - 1, **spec}
    limits = make_limits(boot_grace_seconds=0.5)
    return desired.model_copy(
        update={"generation": generation, "spec": make_spec(desired.instance_id, limits=limits, **fields)}
    )


async def running(rig: Rig, registry: Registry, tag: str = "1") -> Desired:
    """Return an instance that runs version 1."""
    if not registry.images:
        registry.push("1", SERVES)
    desired = of(registry, tag, wanted(), 1)
    await rig.want(desired)
    await settled(rig, desired, timeout=40)
    return desired


def version_served(observed: Observed) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{observed.port}/version", timeout=5) as answer:
        return str(answer.read().decode())


def state_of(rig: Rig, desired: Desired) -> str:
    return (directory(rig, desired) / "config" / "state").read_text().strip()


async def under_way(rig: Rig, desired: Desired, step: str) -> Observed:
    """Wait until a step of an update has begun."""

    async def begun() -> Observed | None:
        last = await rig.observed(desired.instance_id)
        return last if last and last.progress and last.progress.step == step else None

    found = await wait_until(begun, timeout=40, what=step)
    assert found
    return found


async def test_an_update_is_down_for_one_boot_and_keeps_port_token_and_data(
    rig: Rig, registry: Registry, docker_client: Any
) -> None:
    quick_probation(rig, seconds=10)
    desired = await running(rig, registry)
    before = await rig.until(desired.instance_id, Phase.RUNNING)
    old = docker_client.containers.get(f"claw-{desired.instance_id}").attrs
    (directory(rig, desired) / "workspace" / "mine").write_text("data")
    digest = registry.push("2", SERVES, ballast=4 << 20)
    registry.bytes_per_second = TOO_SLOW
    update = of(registry, "2", desired, 2)
    await rig.want(update)
    # Making the container and keeping the state come on top of the boot; the pull and the probation must not.
    assert version_served(await under_way(rig, desired, "downloading the image")) == "1"
    registry.bytes_per_second = None
    assert version_served(await under_way(rig, desired, "on probation after the update")) == "2"
    after = await settled(rig, update, timeout=40)
    new = docker_client.containers.get(f"claw-{desired.instance_id}").attrs
    assert (after.port, version_served(after), state_of(rig, desired)) == (before.port, "2", "2")
    assert after.image
    assert after.image.digest == digest == new["Image"]
    for part in ("Env", "Hostname"):
        assert new["Config"][part] == old["Config"][part]
    assert new["HostConfig"]["Mounts"] == old["HostConfig"]["Mounts"]
    assert (directory(rig, desired) / "workspace" / "mine").read_text() == "data"
    assert not (directory(rig, desired) / "snapshot").exists()
    assert {seen.phase for seen in told(rig, update) if seen.generation == 2 and seen.progress} == {Phase.RUNNING}


async def test_a_moved_tag_is_taken_only_when_asked_and_the_same_image_is_no_update(
    rig: Rig, registry: Registry
) -> None:
    desired = await running(rig, registry)
    first = await rig.until(desired.instance_id, Phase.RUNNING)
    same = of(registry, "1", desired, 2)
    await rig.want(same)
    second = await settled(rig, same)
    assert (second.container_id, second.started_at) == (first.container_id, first.started_at)
    moved = registry.push("1", SERVES, version="moved")
    await rig.queue.submit(desired.instance_id)
    assert version_served(second) == "1"
    await rig.want(of(registry, "1", desired, 3))
    third = await settled(rig, of(registry, "1", desired, 3), timeout=40)
    assert (version_served(third), third.image and third.image.digest) == ("moved", moved)


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [(BREAKS, 1, "exit code 1: fatal error"), (BREAKS, 78, "exit code 78"), (HANGS, 0, "did not start in time")],
    ids=["ends", "refuses", "hangs"],
)
async def test_a_broken_version_is_rolled_back_with_its_state_and_remembered(
    rig: Rig, registry: Registry, script: str, code: int, said: str
) -> None:
    desired = await running(rig, registry)
    bad = registry.push("2", script, code=code)
    update = of(registry, "2", desired, 2)
    await rig.want(update)
    after = await settled(rig, update, timeout=60)
    assert (after.phase, after.reason, version_served(after)) == (Phase.RUNNING, Reason.UPDATE_ROLLED_BACK, "1")
    assert after.rejected
    assert after.rejected.digest == bad
    assert said in after.rejected.message
    assert state_of(rig, desired) == "1"
    again = of(registry, "2", desired, 3)
    await rig.want(again)
    refused = await settled(rig, again)
    assert refused.started_at == after.started_at, "known to be bad: no downtime"
    assert refused.rejected
    assert refused.rejected.revision == 2


async def test_force_tries_a_version_that_failed_and_a_repaired_one_is_taken(rig: Rig, registry: Registry) -> None:
    desired = await running(rig, registry)
    registry.push("2", BREAKS)
    await rig.want(of(registry, "2", desired, 2))
    await settled(rig, of(registry, "2", desired, 2), timeout=40)
    forced = of(registry, "2", desired, 3, image_forced=True)
    await rig.want(forced)
    after = await settled(rig, forced, timeout=40)
    rolled_back = [event for event in rig.bus.of(Topic.OBSERVED) if event.type is EventType.UPDATE_ROLLED_BACK]
    assert (len(rolled_back), version_served(after)) == (2, "1")
    registry.push("2", SERVES, version="repaired")
    repaired = of(registry, "2", desired, 4)
    await rig.want(repaired)
    after = await settled(rig, repaired, timeout=40)
    assert (version_served(after), after.rejected) == ("repaired", None)


async def test_a_registry_that_fails_costs_no_downtime(rig: Rig, registry: Registry) -> None:
    desired = await running(rig, registry)
    before = await rig.until(desired.instance_id, Phase.RUNNING)
    registry.push("2", SERVES)
    registry.failing = True
    await rig.want(of(registry, "2", desired, 2))

    async def refused() -> bool:
        last = await rig.observed(desired.instance_id)
        return last is not None and last.reason is Reason.IMAGE_MISSING

    await wait_until(refused, timeout=30)
    after = await rig.until(desired.instance_id, Phase.RUNNING)
    assert (after.started_at, version_served(after)) == (before.started_at, "1")


async def test_two_instances_need_one_pull_and_a_slow_one_holds_no_stop(rig: Rig, registry: Registry) -> None:
    one, other = await running(rig, registry), await running(rig, registry)
    stopped = await running(rig, registry)
    registry.push("2", SERVES, ballast=4 << 20)
    registry.bytes_per_second = TOO_SLOW
    registry.requests.clear()
    for desired in (one, other):
        await rig.want(of(registry, "2", desired, 2))

    async def pulling() -> bool:
        last = await rig.observed(one.instance_id)
        return last is not None and last.progress is not None and (last.progress.percent or 0) > 0

    await wait_until(pulling, timeout=20)
    await rig.want(stopped.model_copy(update={"generation": 2, "desired_state": DesiredState.STOPPED}))
    await rig.until(stopped.instance_id, Phase.STOPPED, timeout=30)
    last = await rig.observed(one.instance_id)
    assert last
    assert last.progress, "the pull goes on"
    registry.bytes_per_second = None
    for desired in (one, other):
        assert version_served(await settled(rig, of(registry, "2", desired, 2), timeout=40)) == "2"
    assert sum(request.startswith("HEAD") for request in registry.requests) == 1


@pytest.mark.parametrize("script", [SERVES, BREAKS], ids=["good", "broken"])
async def test_a_provisioner_that_ends_in_the_middle_is_gone_on_from(
    tmp_path: Path, registry: Registry, installation: str, script: str
) -> None:
    bus = FakeBus()
    async with assembled(tmp_path, installation, bus) as rig:
        desired = await running(rig, registry)
        registry.push("2", script)
        update = of(registry, "2", desired, 2)
        await rig.want(update)
        await rig.until(desired.instance_id, Phase.UPDATING)
    async with assembled(tmp_path, installation, bus) as rig:
        after = await settled(rig, update, timeout=40)
        expected = "2" if script == SERVES else "1"
        assert (version_served(after), state_of(rig, desired)) == (expected, expected)
