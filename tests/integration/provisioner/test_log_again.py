"""The log comes again: replayed on a live system, redelivered to a new consumer, or lost and written anew."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from nats.js.errors import NoKeysError

from clawstead_shared import topology
from clawstead_shared.events import Desired, DesiredState, Phase
from clawstead_shared.messaging import Bus
from clawstead_shared.streams import HOSTS_BUCKET, KEYS_BUCKET, PROVISIONER, SEALING_KEY, STATE_STREAM
from clawstead_shared.subjects import Topic
from tests.support.nats_server import NatsServer
from tests.support.provisioner_process import ProvisionerProcess
from tests.support.provisioner_rig import wanted
from tests.support.replaying import replay
from tests.support.wait import wait_until
from tests.support.wishes import changed, containers, entrust, until, want

pytestmark = pytest.mark.docker


@pytest.fixture
async def process(
    bus: Bus, tmp_path: Path, nats_server: NatsServer, installation: str, standin: None
) -> AsyncIterator[ProvisionerProcess]:
    process = ProvisionerProcess(tmp_path / "data", nats_server.url, installation)
    process.start()
    await process.ready()
    yield process
    process.kill()


class Calm:
    """Sees whether the engine, the log or the files were touched."""

    def __init__(self, client: Any, installation: str, data_dir: Path, bus: Bus) -> None:
        self._client, self._bus, self._data_dir = client, bus, data_dir
        self._label = f"ing.clawstead.installation={installation}"
        self._since = time.time()

    async def begin(self) -> None:
        self._since = await asyncio.to_thread(self._engine_time)
        self._files = self._inodes()
        self._sequence = await self._bus.log.last_sequence()

    async def kept(self) -> None:
        """Assert that nothing happened since ``begin``."""
        assert await asyncio.to_thread(self._events) == []
        assert self._inodes() == self._files
        assert await self._bus.log.last_sequence() == self._sequence

    def _engine_time(self) -> float:
        # A second later than what happened before, since the engine counts in whole ones.
        time.sleep(1.1)
        return time.time()

    def _events(self) -> list[str]:
        span = {"since": int(self._since), "until": int(time.time()) + 1}
        found = self._client.events(**span, filters={"label": self._label}, decode=True)
        return [event["Action"] for event in found if event["timeNano"] >= self._since * 1e9]

    def _inodes(self) -> dict[str, tuple[int, int]]:
        files = [path for path in (self._data_dir / "instances").rglob("*") if path.is_file()]
        own = [path for path in files if not path.match("*/workspace/*") and not path.match("*/state/*")]
        return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns) for path in own}


@pytest.fixture
def calm(docker_client: Any, installation: str, process: ProvisionerProcess, bus: Bus) -> Calm:
    return Calm(docker_client, installation, process.data_dir, bus)


async def run_some(bus: Bus, count: int) -> list[Desired]:
    wants = [wanted() for _ in range(count)]
    for desired in wants:
        await entrust(bus, desired)
        await want(bus, desired)
    for desired in wants:
        await until(bus, desired, Phase.RUNNING)
    return wants


def starts(client: Any, wants: list[Desired]) -> list[tuple[str, str]]:
    found = [containers(client, desired)[0] for desired in wants]
    return [(container.id, container.attrs["State"]["StartedAt"]) for container in found]


async def settled(bus: Bus) -> bool:
    info = await bus.jetstream.consumer_info(STATE_STREAM, PROVISIONER.durable)
    return not info.num_pending and not info.num_ack_pending


async def test_a_replay_of_the_whole_log_touches_nothing_that_is_as_it_should_be(
    bus: Bus, process: ProvisionerProcess, docker_client: Any, calm: Calm
) -> None:
    *wants, gone = await run_some(bus, 4)
    deleted = changed(gone, 2, DesiredState.DELETED)
    await want(bus, deleted)
    await until(bus, deleted, Phase.REMOVED)
    running = starts(docker_client, wants)
    await calm.begin()
    assert await replay(bus, "provisioner", dry_run=True) == ([], [])
    await calm.kept()
    assert await replay(bus, "provisioner") == ([], [])
    await calm.kept()
    await bus.jetstream.delete_consumer(STATE_STREAM, PROVISIONER.durable)
    await topology.apply(bus.jetstream)
    await wait_until(lambda: settled(bus), timeout=20, what="everything redelivered")
    await calm.kept()
    assert starts(docker_client, wants) == running
    assert containers(docker_client, gone) == []

    coming, leaving = wanted(), changed(wants[0], 2, DesiredState.DELETED)
    await entrust(bus, coming)
    await asyncio.gather(want(bus, coming), want(bus, leaving), replay(bus, "provisioner"))
    assert (await replay(bus, "provisioner"))[1] == []
    await until(bus, coming, Phase.RUNNING)
    await until(bus, leaving, Phase.REMOVED)
    effects, _ = await replay(bus, "provisioner", dry_run=True, instance_id=leaving.instance_id)
    assert effects == []
    assert starts(docker_client, wants[1:]) == running[1:]
    assert [containers(docker_client, left) for left in (gone, leaving)] == [[], []]


async def lost(bus: Bus, nats_server: NatsServer) -> None:
    await asyncio.to_thread(nats_server.lose_store)
    await wait_until(lambda: bus.connected)
    await topology.apply(bus.jetstream)


async def resynced(bus: Bus, wants: list[Desired]) -> None:
    """Say again what is wanted, as the API does."""
    for desired in wants:
        await entrust(bus, desired)
        await want(bus, desired)


async def has_introduced_itself(bus: Bus) -> bool:
    keys, hosts = await bus.bucket(KEYS_BUCKET), await bus.bucket(HOSTS_BUCKET)
    try:
        return SEALING_KEY in await keys.keys() and len(await hosts.keys()) == 1
    except NoKeysError:
        return False


async def test_a_lost_log_costs_no_container_and_is_written_anew(
    bus: Bus, process: ProvisionerProcess, docker_client: Any, nats_server: NatsServer, calm: Calm
) -> None:
    wants = await run_some(bus, 3)
    running = starts(docker_client, wants)
    said = {name: event.data for name, event in (await bus.snapshot(Topic.OBSERVED)).items()}
    await calm.begin()
    await lost(bus, nats_server)
    # A look at the log that was under way when it got lost is given up after five seconds, and repeated after two.
    await wait_until(lambda: has_introduced_itself(bus), timeout=30, what="key and budget published again")

    async def said_again() -> bool:
        return {name: event.data for name, event in (await bus.snapshot(Topic.OBSERVED)).items()} == said

    await wait_until(said_again, timeout=30, what="observations published again")
    await resynced(bus, wants)
    await wait_until(lambda: settled(bus), timeout=30, what="desired states handled")
    assert starts(docker_client, wants) == running

    process.kill()
    await lost(bus, nats_server)
    process.start()
    await process.ready()
    assert await has_introduced_itself(bus)
    await resynced(bus, wants)
    for desired in wants:
        observed = await until(bus, desired, Phase.RUNNING)
        assert observed == said[desired.instance_id].model_copy(update={"generation": desired.generation})
    assert starts(docker_client, wants) == running
