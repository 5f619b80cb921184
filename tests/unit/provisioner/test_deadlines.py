"""No phase lasts for ever: each has a deadline, a message that says what it waited for, and a way out."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from clawstead_provisioner.deadlines import Deadlines
from clawstead_provisioner.errors import EngineUnavailableError, ProvisioningError
from clawstead_shared.events import Channel, Desired, DesiredState, Observed, Phase, Reason
from tests.support.factories import make_spec
from tests.support.fake_bus import FakeBus
from tests.support.fake_engine import FakeEngine
from tests.support.profiles import PROFILES
from tests.support.provisioner_rig import FakeGateway, FakeSecrets, Rig, provisioner, wanted
from tests.support.wait import wait_until

REFUSED = ProvisioningError(Reason.INTERNAL_ERROR, "the container engine refused: the task is not killable")


@pytest.fixture
async def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    """A provisioner that does not wait long between two attempts."""
    monkeypatch.setattr("clawstead_provisioner.memory._FIRST_RETRY_SECONDS", 0.05)
    monkeypatch.setattr("clawstead_provisioner.take_down._STOP_RETRY_SECONDS", 0.02)
    async with provisioner(
        tmp_path,
        bus=FakeBus(),
        engine=FakeEngine(),
        gateway=FakeGateway(),
        secrets=FakeSecrets(),
        profiles=PROFILES,
        installation="test",
        boots_at_once=1,
        stop_grace_seconds=0,
        force_delete_seconds=0.2,
    ) as assembled:
        yield assembled


async def running(rig: Rig) -> Desired:
    desired = wanted()
    await rig.want(desired)
    await rig.until(desired.instance_id, Phase.RUNNING)
    return desired


def hurry(rig: Rig, **seconds: float) -> None:
    """Give phases little time from now on: what a test only begins with must not be late, however slow the machine."""
    object.__setattr__(rig.reconciler._tools.patience, "deadlines", Deadlines(**seconds))


def changed(desired: Desired, state: DesiredState, generation: int = 2, **fields: Any) -> Desired:
    return desired.model_copy(update={"generation": generation, "desired_state": state, **fields})


async def late(rig: Rig, desired: Desired) -> Observed:
    observed = await rig.until(desired.instance_id, Phase.FAILED)
    assert observed.reason is Reason.DEADLINE_EXCEEDED
    assert "delete it with force" in (observed.message or "")
    return observed


async def test_a_stop_that_the_engine_cannot_do_is_failed_then_done_when_it_can(rig: Rig) -> None:
    desired = await running(rig)
    hurry(rig, stopping=0.1)
    rig.engine.refusing["stop"] = REFUSED
    await rig.want(changed(desired, DesiredState.STOPPED))
    observed = await late(rig, desired)
    assert "could not end it" in (observed.message or "")
    tried = rig.engine.calls.count("stop")
    await wait_until(lambda: rig.engine.calls.count("stop") >= tried + 2, what="tried again and again")
    assert rig.phases(desired.instance_id)[3:] == [Phase.STOPPING, Phase.FAILED], "said once, however often it is tried"
    del rig.engine.refusing["stop"]

    async def stopped() -> bool:
        await rig.sweep.once()
        return rig.phases(desired.instance_id)[-1] is Phase.STOPPED

    await wait_until(stopped)


async def test_a_stop_of_an_engine_that_hangs_is_failed(rig: Rig) -> None:
    desired = await running(rig)
    rig.engine.refusing["stop"] = EngineUnavailableError("no answer to stop")
    await rig.want(changed(desired, DesiredState.STOPPED))
    rig.engine.refusing["inspect"] = EngineUnavailableError("no answer to inspect")
    hurry(rig, stopping=0.1)
    await rig.queue.submit(desired.instance_id)
    assert "no answer" in ((await late(rig, desired)).message or "")


async def test_an_old_container_that_does_not_end_for_the_new_one_is_failed_and_still_there(rig: Rig) -> None:
    desired = await running(rig)
    hurry(rig, provisioning=0.3)
    rig.engine.refusing["stop"] = REFUSED
    spec = make_spec(desired.instance_id, channel=Channel.TELEGRAM)
    await rig.want(desired.model_copy(update={"generation": 2, "spec": spec}))
    await late(rig, desired)
    assert rig.engine.containers[desired.instance_id].state.active
    rig.engine.refusing.clear()

    async def replaced() -> bool:
        await rig.sweep.once()
        return rig.phases(desired.instance_id)[-1] is Phase.RUNNING

    await wait_until(replaced)


async def test_a_pull_that_never_ends_is_failed_and_a_delete_does_not_wait_for_it(rig: Rig) -> None:
    hurry(rig, provisioning=0.3)
    rig.engine.hanging.add("pull")
    desired = wanted()
    spec = make_spec(desired.instance_id, image="registry.test/openclaw:1")
    desired = desired.model_copy(update={"spec": spec})
    await rig.want(desired)
    assert "was not made" in ((await late(rig, desired)).message or "")
    async with asyncio.timeout(10):
        await rig.want(changed(desired, DesiredState.DELETED))
    await rig.until(desired.instance_id, Phase.REMOVED)


async def test_one_that_waits_too_long_for_other_starts_is_failed_and_keeps_its_place(rig: Rig) -> None:
    rig.gateway.up = False
    first, second = wanted(), wanted()
    await rig.want(first)
    await rig.until(first.instance_id, Phase.STARTING)
    hurry(rig, provisioning=0.3)
    await rig.want(second)
    observed = await late(rig, second)
    assert "waiting for other starts" in (observed.message or "")
    assert rig.reconciler._tools.slots.waits(second.instance_id)
    await rig.queue.submit(second.instance_id)
    assert await rig.observed(second.instance_id) == observed
    rig.gateway.up = True
    await rig.until(second.instance_id, Phase.RUNNING)


async def test_a_delete_that_the_engine_cannot_do_is_failed_then_done(rig: Rig) -> None:
    desired = await running(rig)
    hurry(rig, deleting=0.1)
    rig.engine.refusing["remove"] = EngineUnavailableError("no answer to remove")
    await rig.want(changed(desired, DesiredState.DELETED))
    await late(rig, desired)
    rig.engine.refusing.clear()

    async def removed() -> bool:
        await rig.sweep.once()
        return rig.phases(desired.instance_id)[-1] is Phase.REMOVED

    await wait_until(removed)
    assert rig.phases(desired.instance_id)[3:] == [Phase.DELETING, Phase.FAILED, Phase.REMOVED]


async def test_a_deadline_that_passed_while_no_provisioner_ran_is_seen_at_boot(rig: Rig) -> None:
    desired = await running(rig)
    rig.engine.ends_after = timedelta(hours=1)
    rig.engine.hanging.add("stop")
    await rig.want(changed(desired, DesiredState.STOPPED))
    await rig.until(desired.instance_id, Phase.STOPPING)
    rig.reconciler._memories.clear()
    hurry(rig, stopping=0.1)
    await asyncio.sleep(0.12)
    await rig.sweep.boot()
    await late(rig, desired)


@pytest.mark.parametrize(
    "broken",
    [{"remove"}, {"inspect"}, {"inspect", "remove", "stop"}],
    ids=["cannot remove", "cannot look", "does nothing"],
)
@pytest.mark.parametrize("how", ["refuses", "hangs"])
async def test_a_forced_delete_counts_as_done_and_what_is_left_goes_later(rig: Rig, broken: set[str], how: str) -> None:
    desired = await running(rig)
    if how == "hangs":
        rig.engine.hanging = set(broken)
    else:
        rig.engine.refusing = dict.fromkeys(broken, EngineUnavailableError("it is out"))
    forced = changed(desired, DesiredState.DELETED, force=True)
    async with asyncio.timeout(10):
        await rig.want(forced)
    observed = await rig.until(desired.instance_id, Phase.REMOVED)
    if "remove" in broken:
        assert observed.reason is Reason.LEFTOVERS
        assert "container and network" in (observed.message or "")
    rig.engine.hanging, rig.engine.refusing = set(), {}

    async def clean() -> bool:
        await rig.sweep.once()
        last = await rig.observed(desired.instance_id)
        return last is not None and (last.phase, last.reason) == (Phase.REMOVED, None)

    await wait_until(clean)
    assert rig.engine.containers == {}
    assert list(rig.settings.instances_dir.iterdir()) == []
    assert rig.phases(desired.instance_id).count(Phase.DELETING) == 1
    assert await rig.sweep.once() == []


async def test_a_forced_delete_kills_at_once(rig: Rig) -> None:
    desired = await running(rig)
    rig.engine.hanging.add("stop")
    await rig.want(changed(desired, DesiredState.STOPPED))
    await rig.until(desired.instance_id, Phase.STOPPING)
    rig.engine.calls.clear()
    async with asyncio.timeout(10):
        await rig.want(changed(desired, DesiredState.DELETED, 3, force=True))
    assert "stop" not in rig.engine.calls
    assert rig.phases(desired.instance_id)[-2:] == [Phase.DELETING, Phase.REMOVED]


async def test_a_delete_that_was_not_forced_can_be_forced_later(rig: Rig) -> None:
    desired = await running(rig)
    rig.engine.refusing["remove"] = REFUSED
    await rig.want(changed(desired, DesiredState.DELETED))
    assert (await rig.until(desired.instance_id, Phase.FAILED)).reason is Reason.INTERNAL_ERROR
    await rig.want(changed(desired, DesiredState.DELETED, 3, force=True))
    assert (await rig.until(desired.instance_id, Phase.REMOVED)).reason is Reason.LEFTOVERS


async def test_a_delete_during_a_boot_does_not_wait_for_it(rig: Rig) -> None:
    rig.gateway.up = False
    booting, waiting = wanted(), wanted()
    await rig.want(booting)
    await rig.want(waiting)
    async with asyncio.timeout(10):
        for desired in (waiting, booting):
            await rig.want(changed(desired, DesiredState.DELETED))
    assert rig.engine.containers == {}


async def test_a_disk_that_does_not_answer_fails_the_instance(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = rig.reconciler._tools.storage
    monkeypatch.setattr(storage, "_timeout", 0.05)
    monkeypatch.setattr(storage, "_open", lambda *_: time.sleep(0.3))
    desired = wanted()
    await rig.want(desired)
    observed = await rig.until(desired.instance_id, Phase.FAILED)
    assert observed.reason is Reason.STORAGE_UNUSABLE
    assert "did not answer" in (observed.message or "")
