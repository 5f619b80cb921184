"""A dry run says what handling events would do now, and does none of it."""

from typing import Any

import pytest

from clawstead_provisioner.rehearsal import Rehearsal
from clawstead_shared.control import Effect
from clawstead_shared.events import Desired, DesiredState, EventType, Phase
from clawstead_shared.messaging.control import RefusedError
from clawstead_shared.subjects import Topic
from tests.support.factories import desired_event, make_limits, make_spec
from tests.support.provisioner_rig import Rig, wanted
from tests.support.wait import wait_until

LOOKS = {"inspect", "find", "list"}


async def planned(rig: Rig, *wants: Desired) -> list[Effect]:
    """Return what handling would do, after making sure that saying so did nothing."""
    await wait_until(lambda: not any(rig.queue.busy(desired.instance_id) for desired in wants))
    rig.engine.calls.clear()
    events = len(rig.bus.events)
    effects = await Rehearsal(rig.reconciler, rig.queue).plan([desired_event(desired) for desired in wants])
    assert set(rig.engine.calls) <= LOOKS
    assert len(rig.bus.events) == events
    return effects


def actions(effects: list[Effect]) -> list[str]:
    return [effect.action for effect in effects]


async def publish(rig: Rig, desired: Desired, **changes: Any) -> Desired:
    """Store a desired state that nobody handles."""
    changed = desired.model_copy(update={"generation": desired.generation + 1, **changes})
    await rig.bus.publish(desired_event(changed, EventType.RECONFIGURED))
    return changed


async def running(rig: Rig) -> Desired:
    desired = wanted()
    await rig.want(desired)
    await rig.until(desired.instance_id, Phase.RUNNING)
    return desired


async def test_what_is_settled_has_no_effect(rig: Rig) -> None:
    desired = await running(rig)
    stopped, deleted = wanted(desired_state=DesiredState.STOPPED), wanted(desired_state=DesiredState.DELETED)
    await rig.want(stopped)
    await rig.want(deleted)
    assert await planned(rig, desired, desired, stopped, deleted) == []


async def test_the_newest_desired_state_is_planned_whatever_the_event_says(rig: Rig) -> None:
    desired = await running(rig)
    await publish(rig, desired, desired_state=DesiredState.STOPPED)
    effects = await planned(rig, desired)
    assert actions(effects) == ["publish observation", "stop container"]
    assert effects[0].instance_id == desired.instance_id
    assert effects[0].detail == "stopped is wanted, as of generation 2"


async def test_a_new_instance_would_be_made(rig: Rig) -> None:
    desired = wanted()
    await rig.bus.publish(desired_event(desired))
    assert actions(await planned(rig, desired))[1:4] == ["create network", "create container", "start container"]
    assert not (rig.settings.instances_dir / desired.instance_id).exists()


async def test_deletes_and_lost_containers_and_new_limits_are_told_apart(rig: Rig) -> None:
    deleted, lost, larger = await running(rig), await running(rig), await running(rig)
    await publish(rig, deleted, desired_state=DesiredState.DELETED)
    rig.engine.containers.pop(lost.instance_id)
    spec = make_spec(larger.instance_id, limits=make_limits(memory_bytes=512 * 1024**2))
    await publish(rig, larger, spec=spec)
    assert "remove directories" in actions(await planned(rig, deleted))
    assert "create container" in actions(await planned(rig, lost))
    assert actions(await planned(rig, larger)) == ["write files", "adjust limits", "publish observation"]


async def test_a_generation_that_changes_nothing_is_only_confirmed(rig: Rig) -> None:
    desired = await running(rig)
    await publish(rig, desired)
    effects = await planned(rig, desired)
    assert actions(effects) == ["write files", "adjust limits", "publish observation"]


async def test_a_dry_run_leaves_the_instance_as_it_was_for_the_real_one(rig: Rig) -> None:
    desired = await running(rig)
    changed = await publish(rig, desired, desired_state=DesiredState.STOPPED)
    await planned(rig, desired)
    assert rig.engine.containers[desired.instance_id].state.active
    await rig.want(changed)
    await rig.until(desired.instance_id, Phase.STOPPED)


async def test_without_the_engine_nothing_can_be_foreseen(rig: Rig) -> None:
    desired = await running(rig)
    rig.engine.available = False
    with pytest.raises(RefusedError, match="engine does not answer"):
        await planned(rig, desired)


async def test_an_instance_that_nobody_knows_any_more_has_no_effect(rig: Rig) -> None:
    desired = await running(rig)
    rig.bus.events = [event for event in rig.bus.events if event.topic is not Topic.DESIRED]
    assert await planned(rig, desired) == []
