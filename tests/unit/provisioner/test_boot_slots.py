"""How many gateways start at once: first come, first served, and no slot is ever lost."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from clawstead_provisioner.boot_slots import BOOTS, BootSlots
from clawstead_provisioner.storage import Storage
from clawstead_shared.events import Desired, DesiredState, Phase
from tests.support.factories import desired_event, make_limits, make_spec
from tests.support.fake_bus import FakeBus
from tests.support.fake_engine import FakeEngine
from tests.support.provisioner_rig import FakeGateway, FakeSecrets, Rig, provisioner, wanted
from tests.support.wait import wait_until

WAITING = "waiting for other starts"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    """A provisioner that lets two gateways start at once, and gateways that do not get ready."""
    gateway = FakeGateway()
    gateway.up = False
    async with provisioner(
        tmp_path,
        bus=FakeBus(),
        engine=FakeEngine(),
        gateway=gateway,
        secrets=FakeSecrets(),
        uid=os.getuid(),
        installation="test",
        boots_at_once=2,
    ) as assembled:
        yield assembled


async def create(rig: Rig, count: int, grace: float = 90) -> list[Desired]:
    wants = []
    for _ in range(count):
        desired = wanted()
        spec = make_spec(desired.instance_id, limits=make_limits(boot_grace_seconds=grace))
        wants.append(desired.model_copy(update={"spec": spec}))
        await rig.want(wants[-1])
    return wants


def started(rig: Rig) -> set[str]:
    return {name for name, container in rig.engine.containers.items() if container.state.active}


async def change(rig: Rig, desired: Desired, state: DesiredState) -> None:
    await rig.want(desired.model_copy(update={"generation": 2, "desired_state": state}))


def called(instance_id: str, order: list[str]) -> None:
    order.append(instance_id)


def test_slots_are_given_in_the_order_they_were_asked_for() -> None:
    slots, order = BootSlots(1), list[str]()
    assert slots.take("a", lambda: None)
    for name in ("b", "c", "d"):
        assert not slots.take(name, lambda name=name: called(name, order))  # type: ignore[misc]
    assert not slots.take("b", lambda: called("b", order)), "asking again keeps the place"
    slots.release("c")
    for name in ("a", "b", "d"):
        slots.release(name)
    assert order == ["b", "d"]
    assert slots.take("e", lambda: None)


def test_who_comes_later_does_not_overtake_the_line() -> None:
    slots = BootSlots(2)
    slots.hold("a")
    slots.hold("b")
    slots.hold("adopted")
    assert not slots.take("c", lambda: None)
    slots.release("a")
    assert slots.waits("c"), "there is one more than there may be"
    slots.release("b")
    assert not slots.waits("c")
    assert not slots.take("d", lambda: None)


async def test_those_beyond_the_number_wait_and_say_so(rig: Rig) -> None:
    wants = await create(rig, 4)
    assert started(rig) == {desired.instance_id for desired in wants[:2]}
    for desired in wants[2:]:
        observed = await rig.until(desired.instance_id, Phase.PROVISIONING)
        assert observed.progress
        assert observed.progress.step == WAITING
    assert BOOTS.labels("booting")._value.get() == 2
    assert BOOTS.labels("waiting")._value.get() == 2
    rig.gateway.up = True
    for desired in wants:
        observed = await rig.until(desired.instance_id, Phase.RUNNING)
        assert observed.progress is None
    assert BOOTS.labels("booting")._value.get() == BOOTS.labels("waiting")._value.get() == 0


async def test_fifty_creations_never_start_more_than_may(rig: Rig) -> None:
    rig.gateway.up = True
    booting: list[float] = []
    rig.engine.starting = lambda _: booting.append(BOOTS.labels("booting")._value.get())
    wants = [wanted() for _ in range(50)]
    await asyncio.gather(*(rig.want(desired) for desired in wants))
    for desired in wants:
        await rig.until(desired.instance_id, Phase.RUNNING)
    assert len(booting) == 50
    assert max(booting) == 2


async def test_a_delete_gives_its_slot_or_its_place_to_the_next(rig: Rig) -> None:
    first, _, third, fourth = await create(rig, 4)
    await change(rig, third, DesiredState.DELETED)
    await rig.until(third.instance_id, Phase.REMOVED)
    await change(rig, first, DesiredState.DELETED)
    await rig.until(first.instance_id, Phase.REMOVED)
    await rig.until(fourth.instance_id, Phase.STARTING)


async def test_a_stop_gives_its_slot_or_its_place_to_the_next(rig: Rig) -> None:
    first, _, third, fourth = await create(rig, 4)
    await change(rig, third, DesiredState.STOPPED)
    assert (await rig.until(third.instance_id, Phase.STOPPED)).progress is None
    await change(rig, first, DesiredState.STOPPED)
    await rig.until(fourth.instance_id, Phase.STARTING)
    assert third.instance_id not in started(rig)


async def test_a_crash_gives_its_slot_to_the_next(rig: Rig) -> None:
    first, _, third = await create(rig, 3)
    rig.engine.end(rig.engine.containers[first.instance_id], 78)
    await rig.until(third.instance_id, Phase.STARTING)
    await rig.until(first.instance_id, Phase.FAILED)


async def test_a_start_that_fails_gives_its_slot_to_the_next(rig: Rig) -> None:
    def fail(_: object) -> None:
        raise RuntimeError("a fault of our own")

    rig.engine.starting = fail
    for _ in range(2):
        desired = wanted()
        await rig.bus.publish(desired_event(desired))
        with pytest.raises(RuntimeError):
            await rig.queue.submit(desired.instance_id)
    rig.engine.starting = lambda _: None
    (third,) = await create(rig, 1)
    await rig.until(third.instance_id, Phase.STARTING)


async def test_a_boot_past_its_grace_keeps_nobody_waiting(rig: Rig) -> None:
    wants = await create(rig, 3, grace=0.3)
    await rig.until(wants[2].instance_id, Phase.STARTING)
    assert [rig.phases(desired.instance_id)[-1] for desired in wants[:2]] == [Phase.STARTING] * 2


async def test_a_killed_one_that_waits_is_counted_once(rig: Rig) -> None:
    rig.gateway.up = True
    (running,) = await create(rig, 1)
    await rig.until(running.instance_id, Phase.RUNNING)
    rig.gateway.up = False
    await create(rig, 2)
    rig.engine.end(rig.engine.containers[running.instance_id], 137)
    observed = await rig.until(running.instance_id, Phase.PROVISIONING)
    assert (observed.restart_count, observed.exit and observed.exit.code) == (1, 137)
    rig.gateway.up = True
    assert (await rig.until(running.instance_id, Phase.RUNNING)).restart_count == 1


async def test_starts_found_under_way_count(rig: Rig) -> None:
    await create(rig, 2)
    rig.reconciler._memories.clear()
    for slot in list(rig.engine.containers):
        rig.reconciler._tools.boots.cancel(slot)
    await rig.sweep.boot()
    third = wanted()
    await rig.want(third)
    observed = await rig.observed(third.instance_id)
    assert observed
    assert observed.progress
    assert observed.progress.step == WAITING


async def test_a_start_that_waited_for_its_turn_does_not_prepare_its_files_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    write = Storage.write

    async def counting(storage: Storage, instance_id: str, *files: Any) -> None:
        written.append(instance_id)
        await write(storage, instance_id, *files)

    monkeypatch.setattr(Storage, "write", counting)
    wants = await create(rig, 3)
    last = wants[-1].instance_id
    assert last not in started(rig)
    rig.gateway.up = True
    await rig.until(last, Phase.RUNNING)
    assert written.count(last) == 1
    rig.engine.end(rig.engine.containers[last], 1)
    await wait_until(lambda: written.count(last) == 2, what="a later start prepares them anew")
