"""An update whose provisioner is killed after each of its calls to the outside world: the next one goes on."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clawstead_shared.events import Desired, EventType, Phase, Reason
from tests.support.factories import desired_event
from tests.support.fake_bus import FakeBus
from tests.support.fake_engine import FakeEngine
from tests.support.provisioner_rig import FakeGateway, FakeSecrets, Rig, provisioner, wanted
from tests.support.updates import GOOD, NEW, asking, breaks, directory, settled

CHANGES = {
    *("publish", "create", "start", "stop", "remove", "pull"),
    *("open", "write", "take", "note", "restore", "drop"),
}


class KilledError(BaseException):
    """The process ends here."""


@dataclass
class Life:
    """How many calls a provisioner may make yet."""

    left: int | None = None
    calls: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def spend(self) -> None:
        self.calls += 1
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                self.over.set()
        self.require()

    def require(self) -> None:
        if self.over.is_set():
            raise KilledError


class Mortal:
    """Passes calls on for as long as its owner lives."""

    def __init__(self, target: Any, life: Life) -> None:
        self._target = target
        self._life = life

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if not asyncio.iscoroutinefunction(found):
            return found

        async def call(*args: Any, **named: Any) -> Any:
            if name in CHANGES:
                self._life.spend()
            self._life.require()
            return await found(*args, **named)

        return call


@dataclass
class World:
    """What outlives a provisioner."""

    directory: Path
    bus: FakeBus
    engine: FakeEngine

    def provisioner(self, life: Life) -> Any:
        return provisioner(
            self.directory,
            bus=Mortal(self.bus, life),
            engine=Mortal(self.engine, life),
            gateway=FakeGateway(),
            secrets=FakeSecrets(),
            uid=os.getuid(),
            installation="test",
            probation_seconds=0.02,
        )


def mortal(rig: Rig, life: Life) -> None:
    tools = rig.reconciler._tools
    for name in ("storage", "snapshots"):
        object.__setattr__(tools, name, Mortal(getattr(tools, name), life))


async def updated(world: World, desired: Desired, update: Desired, calls: int | None, *, broken: bool) -> int:
    """Update an instance; the provisioner dies after ``calls`` calls, another one takes over. Return its calls."""
    life = Life()
    async with world.provisioner(life) as rig:
        mortal(rig, life)
        rig.engine = world.engine
        await world.bus.publish(desired_event(desired))
        rig.queue.submit(desired.instance_id)
        await settled(rig, desired)
        (directory(rig, desired) / "config" / "state").write_text("good")
        if broken:
            breaks(rig)
        await world.bus.publish(desired_event(update, EventType.UPDATE_REQUESTED))
        life.left, life.calls = calls, 0
        rig.queue.submit(desired.instance_id)
        await _ended(rig, update, life)
    async with world.provisioner(Life()) as rig:
        await settled(rig, update)
    return life.calls


async def _ended(rig: Rig, update: Desired, life: Life) -> None:
    ends: list[asyncio.Task[Any]] = [
        asyncio.create_task(settled(rig, update)),
        asyncio.create_task(life.over.wait()),
    ]
    done, left = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for task in left:
        task.cancel()
    await asyncio.gather(*ends, return_exceptions=True)
    for task in done:
        if not life.over.is_set():
            task.result()


def fresh(directory: Path) -> World:
    world = World(directory, FakeBus(), FakeEngine())
    world.engine.registry[NEW] = {}
    return world


async def at_every_call(tmp_path: Path, *, broken: bool, check: Callable[[World, Desired], None]) -> None:
    desired = wanted()
    update = asking(desired, 2)
    total = await updated(fresh(tmp_path / "all"), desired, update, None, broken=broken)
    assert total > 10
    for calls in range(total):
        world = fresh(tmp_path / str(calls))
        made = await updated(world, desired, update, calls, broken=broken)
        assert made >= calls
        try:
            check(world, desired)
        except AssertionError as error:
            raise AssertionError(f"killed after {calls} of {total} calls: {error}") from error


def check_common(world: World, desired: Desired) -> Any:
    instance = world.directory / "instances" / desired.instance_id
    assert sorted(path.name for path in instance.iterdir()) == ["applied.json", "auth", "config", "workspace"]
    assert list(world.engine.containers) == [desired.instance_id]
    last = world.bus.events[-1].data
    assert last.restart_count == 0  # type: ignore[attr-defined]
    return last


async def test_an_update_is_finished_by_the_next_one(tmp_path: Path) -> None:
    def check(world: World, desired: Desired) -> None:
        last = check_common(world, desired)
        assert last.phase is Phase.RUNNING
        assert (last.image.digest, last.rejected) == (f"sha256:{NEW}", None)
        state = world.directory / "instances" / desired.instance_id / "config" / "state"
        assert state.read_text() == "good"

    await at_every_call(tmp_path, broken=False, check=check)


async def test_a_way_back_is_finished_by_the_next_one(tmp_path: Path) -> None:
    def check(world: World, desired: Desired) -> None:
        last = check_common(world, desired)
        assert (last.phase, last.reason) == (Phase.RUNNING, Reason.UPDATE_ROLLED_BACK)
        assert (last.image.digest, last.rejected.digest) == (GOOD, f"sha256:{NEW}")
        instance = world.directory / "instances" / desired.instance_id
        assert (instance / "config" / "state").read_text() == "good"
        assert not (instance / "auth" / "new").exists()

    await at_every_call(tmp_path, broken=True, check=check)
