"""The look at everything: what is settled costs nothing, what is not wanted goes, but never on a doubtful word."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest

from clawstead_provisioner.engine_watch import watch_answers
from clawstead_provisioner.ports import Status
from clawstead_shared.events import DesiredState, Phase
from clawstead_shared.subjects import Topic
from tests.support.factories import desired_event
from tests.support.fake_bus import FakeBus
from tests.support.provisioner_rig import Rig, wanted
from tests.support.wait import wait_until

LOOKS = {"inspect", "list"}


async def run_some(rig: Rig, count: int) -> list[str]:
    wants = [wanted() for _ in range(count)]
    await asyncio.gather(*(rig.want(desired) for desired in wants))
    for desired in wants:
        await rig.until(desired.instance_id, Phase.RUNNING)
    return [desired.instance_id for desired in wants]


def forget(rig: Rig, forgotten: Callable[[str], bool]) -> None:
    """Lose events, as a bus that was restored from an old copy has."""
    bus: FakeBus = rig.bus
    bus.events = [event for event in bus.events if not forgotten(event.instance_id)]


async def test_settled_instances_are_not_looked_at(rig: Rig) -> None:
    await run_some(rig, 3)
    stopped = wanted(desired_state=DesiredState.STOPPED)
    await rig.want(stopped)
    deleted = wanted(desired_state=DesiredState.DELETED)
    await rig.want(deleted)
    rig.engine.calls.clear()
    assert await rig.sweep.once() == []
    assert rig.engine.calls == ["list"]


async def test_an_event_that_was_never_delivered_is_found(rig: Rig) -> None:
    desired = wanted()
    await rig.bus.publish(desired_event(desired))
    await rig.sweep.once()
    await rig.until(desired.instance_id, Phase.RUNNING)


async def test_an_end_that_was_never_told_is_found(rig: Rig) -> None:
    (instance_id,) = await run_some(rig, 1)
    listeners, rig.engine.listeners = rig.engine.listeners, []
    rig.engine.end(rig.engine.containers[instance_id], 1)
    rig.engine.listeners = listeners
    await rig.sweep.once()
    await wait_until(lambda: rig.phases(instance_id).count(Phase.RUNNING) == 2)


async def test_an_orphan_goes_at_the_second_look_and_its_data_stays(rig: Rig) -> None:
    *kept, orphan = await run_some(rig, 6)
    forget(rig, lambda instance_id: instance_id == orphan)
    await rig.sweep.once()
    await asyncio.sleep(0.05)
    assert orphan in rig.engine.containers
    await rig.sweep.once()
    await wait_until(lambda: orphan not in rig.engine.containers)
    assert set(kept) == set(rig.engine.containers)
    assert (rig.settings.instances_dir / orphan / "config").exists()


async def test_an_empty_bus_costs_no_container(rig: Rig) -> None:
    instances = await run_some(rig, 2)
    forget(rig, lambda _: True)
    for _ in range(3):
        await rig.sweep.once()
    await asyncio.sleep(0.05)
    assert set(rig.engine.containers) == set(instances)


async def test_a_bus_that_lost_most_costs_no_container(rig: Rig) -> None:
    instances = await run_some(rig, 6)
    forget(rig, lambda instance_id: instance_id != instances[0])
    for _ in range(3):
        await rig.sweep.once()
    await asyncio.sleep(0.05)
    assert set(rig.engine.containers) == set(instances)


async def test_a_deleted_instance_whose_container_came_back_is_removed_again(rig: Rig) -> None:
    desired = wanted()
    await rig.want(desired)
    await rig.until(desired.instance_id, Phase.RUNNING)
    spec = rig.engine.containers[desired.instance_id].spec
    await rig.want(desired.model_copy(update={"generation": 2, "desired_state": DesiredState.DELETED}))
    await rig.engine.create(spec)
    await rig.sweep.once()
    await wait_until(lambda: not rig.engine.containers)


async def test_a_broken_event_stream_is_resumed_and_the_gap_looked_at(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clawstead_provisioner.engine_watch._FIRST_PAUSE_SECONDS", 0.01)
    (instance_id,) = await run_some(rig, 1)
    rig.engine.end_streams()
    rig.engine.end(rig.engine.containers[instance_id], 1)
    await wait_until(lambda: rig.phases(instance_id).count(Phase.RUNNING) == 2)
    await wait_until(lambda: rig.engine.listeners)
    rig.engine.end(rig.engine.containers[instance_id], 1)
    await wait_until(lambda: rig.phases(instance_id).count(Phase.RUNNING) == 3)
    observed = await rig.until(instance_id, Phase.RUNNING)
    assert observed.restart_count == 2


async def test_a_boot_during_an_outage_of_the_engine_says_what_it_waits_for(rig: Rig) -> None:
    rig.engine.available = False
    await rig.sweep.boot()
    assert "engine" in rig.readiness.waiting
    rig.engine.available = True
    await rig.sweep.once()
    assert rig.readiness.waiting == {}


async def test_an_engine_that_hangs_is_noticed_though_its_events_are_just_silent(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clawstead_provisioner.engine_watch._PING_PAUSE_SECONDS", 0.01)
    watching = asyncio.create_task(watch_answers(rig.engine, rig.sweep, rig.readiness))
    await wait_until(lambda: "ping" in rig.engine.calls)
    assert rig.readiness.waiting == {}
    rig.engine.available = False
    await wait_until(lambda: "engine" in rig.readiness.waiting)
    rig.engine.available = True
    await wait_until(lambda: rig.readiness.waiting == {})
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_an_own_stop_told_late_is_not_taken_for_a_crash(rig: Rig) -> None:
    (instance_id,) = await run_some(rig, 1)
    rig.engine.ends_after = timedelta(0)
    desired = (await rig.bus.newest(Topic.DESIRED, instance_id)).data
    late, rig.engine.listeners = rig.engine.listeners, []
    await rig.want(desired.model_copy(update={"generation": 2, "desired_state": DesiredState.STOPPED}))
    await rig.until(instance_id, Phase.STOPPED)
    await rig.want(desired.model_copy(update={"generation": 3}))
    rig.engine.listeners = late
    for event in rig.engine._history[-3:]:
        rig.reconciler.note(event)
    observed = await rig.until(instance_id, Phase.RUNNING)
    await asyncio.sleep(0.05)
    assert (await rig.observed(instance_id)) == observed
    assert observed.restart_count == 0
    assert rig.engine.containers[instance_id].state.status is Status.RUNNING
