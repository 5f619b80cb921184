"""What every engine keeps: one suite, run on the fake and on Docker."""

import asyncio
import socket
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from clawstead_provisioner.errors import ImageMissingError, PortTakenError, ProvisioningError, VanishedError
from clawstead_provisioner.ports import EngineEvent, Happening, Status
from clawstead_provisioner.spec import Resources
from clawstead_shared.events import Progress, Reason
from tests.support.engine_world import EngineWorld
from tests.support.factories import STANDIN_IMAGE
from tests.support.fake_engine import FakeEngine
from tests.support.registry import SERVES
from tests.support.wait import wait_until

SOON = timedelta(seconds=5)


async def test_a_created_container_is_as_specified_and_does_not_run(world: EngineWorld) -> None:
    spec = await world.spec()
    made = await world.engine.create(spec)
    assert made == await world.engine.inspect(spec.instance_id)
    assert (made.status, made.port, made.fingerprint) == (Status.CREATED, spec.port, spec.fingerprint)
    assert (made.started_at, made.active) == (None, False)


async def test_creating_again_returns_what_is_there(world: EngineWorld) -> None:
    spec = await world.spec()
    assert await world.engine.create(spec) == await world.engine.create(spec)


async def test_creating_again_adds_the_network_that_is_missing(world: EngineWorld) -> None:
    spec = await world.spec()
    made = await world.engine.create(spec)
    await world.lose_network(spec)
    with pytest.raises(ProvisioningError):
        await world.engine.start(made.id)
    assert (await world.engine.create(spec)).id == made.id
    await world.engine.start(made.id)
    assert await world.status(spec) is Status.RUNNING


async def test_starting_again_is_success_and_no_new_start(world: EngineWorld) -> None:
    spec = await world.started()
    first = await world.engine.inspect(spec.instance_id)
    await world.engine.start(first.id)
    assert await world.engine.inspect(spec.instance_id) == first
    assert first.status is Status.RUNNING
    assert first.started_at is not None


async def test_a_stopped_container_says_how_it_ended_and_starts_again(world: EngineWorld) -> None:
    spec = await world.started()
    container = await world.engine.inspect(spec.instance_id)
    await world.engine.stop(container.id, SOON)
    await world.engine.stop(container.id, SOON)
    stopped = await world.engine.inspect(spec.instance_id)
    assert stopped.status is Status.EXITED
    assert stopped.finished_at is not None
    await world.engine.start(container.id)
    again = await world.engine.inspect(spec.instance_id)
    assert again.status is Status.RUNNING
    assert again.started_at > container.started_at


async def test_removing_is_total_and_repeatable(world: EngineWorld) -> None:
    spec = await world.started()
    await world.engine.remove(spec.instance_id)
    await world.engine.remove(spec.instance_id)
    assert await world.engine.inspect(spec.instance_id) is None
    assert await world.engine.list() == []


async def test_what_does_not_exist_is_no_error_except_to_start(world: EngineWorld) -> None:
    await world.engine.stop("f" * 64, SOON)
    assert await world.engine.logs("f" * 64, 10) == ""
    with pytest.raises(VanishedError):
        await world.engine.start("f" * 64)


async def test_everything_of_ours_is_listed(world: EngineWorld) -> None:
    running, created = await world.started(), await world.spec()
    await world.engine.create(created)
    listed = {item.instance_id: item for item in await world.engine.list()}
    assert listed[running.instance_id].status is Status.RUNNING
    assert listed[running.instance_id].port == running.port
    assert listed[created.instance_id].status is Status.CREATED
    assert len(listed) == 2


async def test_a_missing_image_is_told_apart_and_its_network_can_be_removed(world: EngineWorld) -> None:
    spec = await world.spec(image="clawstead-nothing:test")
    with pytest.raises(ImageMissingError):
        await world.engine.create(spec)
    assert [item.container_id for item in await world.engine.list()] == [None]
    await world.engine.remove(spec.instance_id)
    assert await world.engine.list() == []


async def test_a_taken_port_is_told_apart_and_the_container_stays_created(world: EngineWorld) -> None:
    spec = await world.spec()
    made = await world.engine.create(spec)
    if isinstance(world.engine, FakeEngine):
        world.engine.foreign_ports.add(spec.port)
    with socket.create_server(("127.0.0.1", spec.port)), pytest.raises(PortTakenError):
        await world.engine.start(made.id)
    assert await world.status(spec) is Status.CREATED


async def test_an_image_that_cannot_be_pulled_says_why(world: EngineWorld) -> None:
    with pytest.raises(ProvisioningError, match="cannot be pulled") as refused:
        await world.engine.pull("127.0.0.1:1/nothing:1", lambda _: None)
    assert refused.value.reason is Reason.IMAGE_MISSING
    assert await world.engine.find("127.0.0.1:1/nothing:1") is None


async def test_an_image_is_found_by_reference_and_by_id(world: EngineWorld) -> None:
    found = await world.engine.find(STANDIN_IMAGE)
    assert found.built_here
    assert await world.engine.find(found.digest) == found
    spec = await world.spec()
    assert (await world.engine.create(spec)).image_digest == found.digest


async def test_limits_of_a_running_container_are_changed_and_those_it_is_above_are_not(world: EngineWorld) -> None:
    spec = await world.started()
    made = await world.engine.inspect(spec.instance_id)
    assert made.resources == spec.resources
    for factor in (2, 1):
        resources = Resources(made.resources.nano_cpus, made.resources.memory_bytes * factor, 100 * factor)
        await world.engine.resize(made.id, resources)
        assert (await world.engine.inspect(spec.instance_id)).resources == resources
    if isinstance(world.engine, FakeEngine):
        world.engine.containers[spec.instance_id].memory_in_use = 100 * 1024**2
    else:
        fill = ["docker", "exec", spec.name, "dd", "if=/dev/zero", "of=/tmp/used", "bs=1M", "count=100"]
        subprocess.run(fill, check=True, capture_output=True)
    with pytest.raises(ProvisioningError) as refused:
        await world.engine.resize(made.id, replace(made.resources, memory_bytes=50 * 1024**2))
    assert refused.value.reason is Reason.RESIZE_REFUSED
    after = await world.engine.inspect(spec.instance_id)
    assert (after.resources.memory_bytes, after.started_at) == (made.resources.memory_bytes, made.started_at)
    await world.engine.remove(spec.instance_id)
    with pytest.raises(VanishedError):
        await world.engine.resize(made.id, made.resources)


async def test_a_pulled_image_is_told_of_on_the_way_and_named_by_its_id(
    world: EngineWorld, request: pytest.FixtureRequest
) -> None:
    told: list[Progress] = []
    if isinstance(world.engine, FakeEngine):
        image, moved = "registry.test/standin:1", "sha256:moved"
        world.engine.registry[image] = {}
        world.engine.pull_steps = [Progress(step="unpacking the image", percent=100)]
        first = await world.engine.pull(image, told.append)
        world.engine.registry_digests[image] = moved
    else:
        registry = request.getfixturevalue("registry")
        image = f"{registry.repository}:1"
        pushed = registry.push("1", SERVES, ballast=100_000)
        first = await world.engine.pull(image, told.append)
        assert first == pushed
        moved = registry.push("1", SERVES, version="moved")
    found = await world.engine.find(image)
    assert (found.digest, found.built_here) == (first, False)
    assert told[-1].percent == 100
    assert await world.engine.pull(image, told.append) == moved
    assert (await world.engine.find(image)).digest == moved
    assert (await world.engine.find(first)).digest == first, "the old one can still be gone back to"


async def test_what_happens_is_told_in_order(world: EngineWorld) -> None:
    told: list[EngineEvent] = []
    since = datetime.now(UTC)

    async def listen() -> None:
        async for event in world.engine.events(since):
            told.append(event)  # noqa: PERF401 - looked at while it grows

    listening = asyncio.create_task(listen())
    spec = await world.started()
    container = await world.engine.inspect(spec.instance_id)
    await world.engine.stop(container.id, SOON)
    await world.engine.remove(spec.instance_id)
    await wait_until(lambda: len(told) >= 3)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    assert [event.happening for event in told] == [Happening.STARTED, Happening.DIED, Happening.DESTROYED]
    assert {event.instance_id for event in told} == {spec.instance_id}
    assert told[1].exit_code is not None
    assert since - timedelta(seconds=1) < told[0].at <= told[1].at


async def test_removing_ends_a_stop_that_waits(world: EngineWorld) -> None:
    spec = await world.started(ignores_term=True)
    container = await world.engine.inspect(spec.instance_id)
    stopping = asyncio.create_task(world.engine.stop(container.id, timedelta(minutes=5)))
    await asyncio.sleep(0.3)
    assert not stopping.done()
    async with asyncio.timeout(10):
        await world.engine.remove(spec.instance_id)
        await stopping
    assert await world.status(spec) is None


async def test_a_shorter_stop_ends_a_longer_one(world: EngineWorld) -> None:
    spec = await world.started(ignores_term=True)
    container = await world.engine.inspect(spec.instance_id)
    stopping = asyncio.create_task(world.engine.stop(container.id, timedelta(minutes=5)))
    await asyncio.sleep(0.3)
    assert not stopping.done()
    async with asyncio.timeout(10):
        await world.engine.stop(container.id, timedelta(0))
        await stopping
    assert await world.status(spec) is Status.EXITED


async def test_stops_that_wait_hold_no_other_call(world: EngineWorld) -> None:
    specs = [await world.started(ignores_term=True) for _ in range(2)]
    containers = [await world.engine.inspect(spec.instance_id) for spec in specs]
    # More than there are threads for ordinary calls.
    stops = [asyncio.create_task(world.engine.stop(containers[n % 2].id, timedelta(minutes=5))) for n in range(20)]
    await asyncio.sleep(0.2)
    async with asyncio.timeout(5):
        assert await world.status(specs[0]) is Status.RUNNING
    for spec in specs:
        await world.engine.remove(spec.instance_id)
    async with asyncio.timeout(10):
        await asyncio.gather(*stops)


async def test_the_last_lines_of_output_are_returned(world: EngineWorld) -> None:
    spec = await world.started()
    container = await world.engine.inspect(spec.instance_id)
    if isinstance(world.engine, FakeEngine):
        world.engine.containers[spec.instance_id].output = "one\nstandin: listening on 18789"

    async def said() -> str:
        return str(await world.engine.logs(container.id, 1))

    assert "listening" in await wait_until(said)
