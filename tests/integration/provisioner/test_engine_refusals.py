"""What every engine keeps when the world is not as it should be: foreign objects, ends nobody asked for, an outage."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clawstead_provisioner.adapters.docker_engine import DockerEngine
from clawstead_provisioner.errors import EngineUnavailableError, PortTakenError, ProvisioningError
from clawstead_provisioner.ports import EngineEvent, Happening
from clawstead_provisioner.spec import ContainerSpec
from clawstead_shared.events import Progress, Reason
from tests.support.engine_world import EngineWorld
from tests.support.factories import STANDIN_IMAGE
from tests.support.wait import wait_until


@contextmanager
def foreign_container(world: EngineWorld, spec: ContainerSpec, client: Any) -> Iterator[None]:
    """Give a container that is not ours the name of ours; it must be there at the end."""
    if world.fake:
        world.fake.foreign_names.add(spec.instance_id)
        yield
        return
    container = client.containers.create(STANDIN_IMAGE, name=spec.name)
    try:
        yield
        container.reload()
    finally:
        container.remove(force=True)


@contextmanager
def foreign_subnet(world: EngineWorld, spec: ContainerSpec, client: Any) -> Iterator[None]:
    """Have a network that is not ours use the subnet of ours."""
    if world.fake:
        world.fake.foreign_subnets.add(spec.network.subnet)
        yield
        return
    pool = {"Subnet": spec.network.subnet}
    network = client.networks.create(f"foreign-{spec.instance_id}", ipam={"Driver": "default", "Config": [pool]})
    try:
        yield
    finally:
        network.remove()


async def first_event(world: EngineWorld, since: datetime, happening: Happening) -> EngineEvent:
    """Return the first such event that is told to one who begins to listen now."""
    async with asyncio.timeout(10):
        async for event in world.engine.events(since):
            if event.happening is happening:
                found: EngineEvent = event
                return found
    raise AssertionError("the stream ended")


async def test_a_foreign_container_with_our_name_is_told_and_left_alone(world: EngineWorld, docker_client: Any) -> None:
    spec = await world.spec()
    with foreign_container(world, spec, docker_client):
        with pytest.raises(ProvisioningError) as refused:
            await world.engine.create(spec)
        assert refused.value.reason is Reason.NAME_TAKEN
        assert await world.engine.inspect(spec.instance_id) is None
        await world.engine.remove(spec.instance_id)
        assert await world.engine.list() == []


async def test_a_subnet_in_use_is_told_apart_and_leaves_nothing_after_a_removal(
    world: EngineWorld, docker_client: Any
) -> None:
    spec = await world.spec()
    with foreign_subnet(world, spec, docker_client):
        with pytest.raises(PortTakenError):
            await world.engine.create(spec)
        await world.engine.remove(spec.instance_id)
        assert await world.engine.list() == []


async def test_an_end_that_nobody_asked_for_is_told_with_its_code(world: EngineWorld) -> None:
    since = datetime.now(UTC)
    spec = await world.spec()
    world.knob(spec, "exit-code", "7")
    made = await world.engine.create(spec)
    await world.engine.start(made.id)
    if world.fake:
        world.fake.end(world.fake.containers[spec.instance_id], 7)
    event = await first_event(world, since, Happening.DIED)
    assert (event.instance_id, event.exit_code) == (spec.instance_id, 7)

    async def is_recorded() -> bool:
        ended = await world.engine.inspect(spec.instance_id)
        return ended is not None and ended.exit_code == 7

    # The engine tells of the end before it has written it down.
    await wait_until(is_recorded, what="the exit code")


async def test_what_happened_before_is_told_to_one_who_comes_late(world: EngineWorld) -> None:
    since = datetime.now(UTC)
    spec = await world.started()
    event = await first_event(world, since, Happening.STARTED)
    assert event.instance_id == spec.instance_id
    assert event.at >= since - timedelta(seconds=1)


async def test_a_container_carries_the_labels_of_its_image(world: EngineWorld) -> None:
    image = "clawstead-standin:coollabs"
    if world.fake:
        world.fake.images[image] = {"ing.clawstead.profile": "coollabs"}
    spec = await world.spec(image)
    assert (await world.engine.create(spec)).labels["ing.clawstead.profile"] == "coollabs"


async def test_every_call_says_when_the_engine_is_away(world: EngineWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, engine = await world.spec(), world.engine
    if world.fake:
        world.fake.available = False
    else:
        monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent/docker.sock")
        engine = DockerEngine("away")
    told: list[Progress] = []
    calls = [
        engine.create(spec),
        engine.start("f" * 64),
        engine.stop("f" * 64, timedelta(seconds=1)),
        engine.resize("f" * 64, spec.resources),
        engine.remove(spec.instance_id),
        engine.inspect(spec.instance_id),
        engine.list(),
        engine.logs("f" * 64, 1),
        engine.find(STANDIN_IMAGE),
        engine.pull("nothing:1", told.append),
        anext(aiter(engine.events(datetime.now(UTC)))),
    ]
    for call in calls:
        with pytest.raises(EngineUnavailableError):
            await call


@pytest.mark.docker
@pytest.mark.parametrize("world", ["docker"], indirect=True)
async def test_another_installation_sees_and_touches_nothing_of_it(world: EngineWorld) -> None:
    spec = await world.started()
    other = DockerEngine(f"another-{spec.instance_id}")
    assert await other.inspect(spec.instance_id) is None
    assert await other.list() == []
    await other.remove(spec.instance_id)
    assert (await world.engine.inspect(spec.instance_id)).active
