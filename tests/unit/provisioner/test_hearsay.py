"""Messages that come a second time, late: the log's last word is not the provisioner's."""

from clawstead_shared.events import DesiredState, Event, Phase
from clawstead_shared.subjects import Topic
from tests.support.factories import desired_event, observed_event
from tests.support.provisioner_rig import Rig, wanted
from tests.support.wait import wait_until

LOOKS = {"inspect", "list"}


async def again(rig: Rig, event: Event) -> None:  # type: ignore[type-arg]
    await rig.bus.publish((observed_event if event.topic is Topic.OBSERVED else desired_event)(event.data))


async def stopped_after_running(rig: Rig) -> str:
    desired = wanted()
    await rig.want(desired)
    await rig.until(desired.instance_id, Phase.RUNNING)
    await rig.want(desired.model_copy(update={"generation": 2, "desired_state": DesiredState.STOPPED}))
    await rig.until(desired.instance_id, Phase.STOPPED)
    await wait_until(lambda: not rig.queue.busy(desired.instance_id))
    return desired.instance_id


async def test_an_old_wish_stored_again_is_not_carried_out_again(rig: Rig) -> None:
    instance_id = await stopped_after_running(rig)
    await again(rig, rig.bus.of(Topic.DESIRED)[0])
    rig.engine.calls.clear()
    await rig.queue.submit(instance_id)
    assert set(rig.engine.calls) <= LOOKS
    observed = await rig.observed(instance_id)
    assert observed is not None
    assert (observed.phase, observed.generation) == (Phase.STOPPED, 2)


async def test_an_old_wish_of_what_is_deleted_brings_nothing_back(rig: Rig) -> None:
    desired = wanted()
    await rig.want(desired)
    await rig.until(desired.instance_id, Phase.RUNNING)
    await rig.want(desired.model_copy(update={"generation": 2, "desired_state": DesiredState.DELETED}))
    await rig.until(desired.instance_id, Phase.REMOVED)
    await again(rig, rig.bus.of(Topic.DESIRED)[0])
    await rig.queue.submit(desired.instance_id)
    assert rig.engine.containers == {}
    assert rig.phases(desired.instance_id)[-1] is Phase.REMOVED


async def test_an_old_observation_stored_again_is_answered_with_the_present(rig: Rig) -> None:
    instance_id = await stopped_after_running(rig)
    running = next(event for event in rig.bus.of(Topic.OBSERVED) if event.data.phase is Phase.RUNNING)
    await again(rig, running)
    await rig.sweep.once()
    observed = await rig.until(instance_id, Phase.STOPPED)
    assert observed.generation == 2


async def test_an_old_observation_of_what_is_deleted_is_answered_too(rig: Rig) -> None:
    desired = wanted()
    await rig.want(desired)
    running = rig.bus.of(Topic.OBSERVED)[0]
    await rig.until(desired.instance_id, Phase.RUNNING)
    await rig.want(desired.model_copy(update={"generation": 2, "desired_state": DesiredState.DELETED}))
    await rig.until(desired.instance_id, Phase.REMOVED)
    await wait_until(lambda: not rig.queue.busy(desired.instance_id))
    await again(rig, running)
    await rig.sweep.once()
    assert (await rig.until(desired.instance_id, Phase.REMOVED)).generation == 2


async def test_what_the_log_tells_rightly_is_not_said_again(rig: Rig) -> None:
    await stopped_after_running(rig)
    before = len(rig.bus.events)
    for look in await rig.sweep.once():
        await look
    assert len(rig.bus.events) == before
