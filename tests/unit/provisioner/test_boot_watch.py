"""Waiting for a start."""

import asyncio

import pytest

from clawstead_provisioner.background import Background
from clawstead_provisioner.boot_slots import BootSlots
from clawstead_provisioner.boot_watch import Boot, BootWatch, Milestones
from tests.support.provisioner_rig import FakeGateway
from tests.support.wait import wait_until


class Told:
    """What a boot watch told, in order."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.milestones = Milestones(
            ready=lambda: self.said.append("ready"),
            slow=lambda: self.said.append("slow"),
            overdue=lambda: self.said.append("overdue"),
        )


async def test_a_fast_start_is_told_at_once_and_nothing_else() -> None:
    told = Told()
    async with Background() as background:
        watch = BootWatch(FakeGateway(), background, BootSlots(1))
        watch.watch(Boot("a", 1, "/startupz", 10, 5), told.milestones)
        await wait_until(lambda: told.said, timeout=1)
        await wait_until(lambda: not watch.watching("a"))
    assert told.said == ["ready"]


async def test_a_slow_start_is_told_then_overdue_then_ready_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clawstead_provisioner.boot_watch._OVERDUE_PAUSE_SECONDS", 0.01)
    told, gateway = Told(), FakeGateway()
    gateway.up = False
    async with Background() as background:
        BootWatch(gateway, background, BootSlots(1)).watch(Boot("a", 1, "/startupz", 0.2, 0.15), told.milestones)
        await wait_until(lambda: told.said == ["slow", "overdue"])
        await asyncio.sleep(0.05)
        gateway.up = True
        await wait_until(lambda: told.said == ["slow", "overdue", "ready"])


async def test_a_new_start_ends_the_wait_for_the_old_one() -> None:
    old, new, gateway = Told(), Told(), FakeGateway()
    gateway.up = False
    async with Background() as background:
        watch = BootWatch(gateway, background, BootSlots(1))
        watch.watch(Boot("a", 1, "/startupz", 10, 5), old.milestones)
        await asyncio.sleep(0)
        watch.watch(Boot("a", 1, "/startupz", 10, 5), new.milestones)
        gateway.up = True
        await wait_until(lambda: new.said == ["ready"])
    assert old.said == []
