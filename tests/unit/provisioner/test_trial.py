"""What may happen while an update is on trial, on a fake engine: ends, changes of mind, other wishes."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from clawstead_provisioner.errors import ProvisioningError
from clawstead_provisioner.ports import Status
from clawstead_shared.events import Channel, Desired, DesiredState, EventType, Phase, Reason
from clawstead_shared.subjects import Topic
from tests.support.factories import make_limits
from tests.support.fake_engine import FakeContainer
from tests.support.provisioner_rig import Rig, wanted
from tests.support.updates import GOOD, NEW, asking, breaks, directory, quick_probation, running, settled
from tests.support.wait import wait_until

NEWER = "registry.test/openclaw:3"


@pytest.fixture(autouse=True)
def updates_to_try(rig: Rig) -> None:
    quick_probation(rig, 3600)
    rig.engine.registry |= {NEW: {}, NEWER: {}}


async def on_trial(rig: Rig) -> Desired:
    """Return the update of an instance that runs on probation."""
    desired = await running(rig)
    (directory(rig, desired) / "config" / "state").write_text("good")
    update = asking(desired, 2)
    await rig.want(update)

    async def trying() -> bool:
        last = await rig.observed(desired.instance_id)
        probation = last is not None and last.progress is not None and "probation" in last.progress.step
        return probation and last is not None and last.phase is Phase.RUNNING

    await wait_until(trying)
    (directory(rig, desired) / "config" / "state").write_text("new")
    return update


def changed(desired: Desired, generation: int, state: DesiredState = DesiredState.RUNNING) -> Desired:
    return desired.model_copy(update={"generation": generation, "desired_state": state})


def state_of(rig: Rig, desired: Desired) -> str:
    return (directory(rig, desired) / "config" / "state").read_text()


def image_of(rig: Rig, desired: Desired) -> str:
    return str(rig.engine.containers[desired.instance_id].state.image_digest)


async def test_an_end_in_probation_rolls_back(rig: Rig) -> None:
    update = await on_trial(rig)
    rig.engine.end(rig.engine.containers[update.instance_id], 137, oom=True)
    after = await settled(rig, update)
    assert (after.reason, image_of(rig, update), state_of(rig, update)) == (Reason.UPDATE_ROLLED_BACK, GOOD, "good")
    assert after.rejected
    assert "lack of memory" in after.rejected.message
    assert after.exit
    assert after.exit.code == 137


async def test_an_end_after_the_probation_is_an_ordinary_one(rig: Rig) -> None:
    update = await on_trial(rig)
    quick_probation(rig, 0)
    await rig.queue.submit(update.instance_id)
    await settled(rig, update)
    starts = rig.phases(update.instance_id).count(Phase.STARTING)
    rig.engine.end(rig.engine.containers[update.instance_id], 1)
    await wait_until(lambda: rig.phases(update.instance_id).count(Phase.STARTING) > starts)
    after = await settled(rig, update)
    assert (after.rejected, after.restart_count, image_of(rig, update)) == (None, 1, f"sha256:{NEW}")
    assert state_of(rig, update) == "new"


async def test_a_refused_config_rolls_back_with_the_gateways_words(rig: Rig) -> None:
    desired = await running(rig)
    breaks(rig, code=78)
    await rig.want(asking(desired, 2))
    after = await settled(rig, asking(desired, 2))
    assert after.rejected
    assert "exit code 78: fatal error: cannot migrate" in after.rejected.message


async def test_a_start_without_an_end_rolls_back(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clawstead_provisioner.bring_up._GRACE_FACTOR", 0)
    desired = await running(rig)
    object.__setattr__(rig.reconciler._tools.patience, "start_seconds", 0.1)
    rig.gateway.up = False
    await rig.want(asking(desired, 2))

    def given_up() -> bool:
        return any(event.type is EventType.UPDATE_ROLLED_BACK for event in rig.bus.of(Topic.OBSERVED))

    await wait_until(given_up)
    rig.gateway.up = True
    after = await settled(rig, asking(desired, 2))
    assert after.rejected
    assert "did not start in time" in after.rejected.message
    assert image_of(rig, desired) == GOOD


async def test_an_image_that_cannot_run_the_gateway_rolls_back(rig: Rig) -> None:
    def refuse(container: FakeContainer) -> None:
        if container.state.image_reference == NEW:
            container.state = replace(container.state, status=Status.CREATED)
            raise ProvisioningError(Reason.IMAGE_UNUSABLE, "the image cannot run the gateway: no node")

    desired = await running(rig)
    rig.engine.starting = refuse
    await rig.want(asking(desired, 2))
    after = await settled(rig, asking(desired, 2))
    assert after.rejected
    assert "no node" in after.rejected.message
    assert image_of(rig, desired) == GOOD


async def test_going_back_leads_to_the_very_image_although_its_tag_moved(rig: Rig) -> None:
    desired = await running(rig)
    await rig.want(asking(desired, 2))
    quick_probation(rig, 0)
    await rig.queue.submit(desired.instance_id)
    await settled(rig, asking(desired, 2))
    rig.engine.registry_digests[NEW] = "sha256:moved"

    def end_moved(container: FakeContainer) -> None:
        if container.state.image_digest == "sha256:moved":
            rig.engine.end(container, 1)

    rig.engine.starting = end_moved
    await rig.want(asking(desired, 3))
    after = await settled(rig, asking(desired, 3))
    assert after.rejected
    assert (after.rejected.digest, image_of(rig, desired)) == ("sha256:moved", f"sha256:{NEW}")


async def test_a_stop_and_a_start_in_probation_go_on_with_the_trial(rig: Rig) -> None:
    update = await on_trial(rig)
    await rig.want(changed(update, 3, DesiredState.STOPPED))
    await rig.until(update.instance_id, Phase.STOPPED)
    assert (directory(rig, update) / "snapshot").exists()
    breaks(rig)
    await rig.want(changed(update, 4))
    after = await settled(rig, changed(update, 4))
    assert (after.reason, image_of(rig, update), state_of(rig, update)) == (Reason.UPDATE_ROLLED_BACK, GOOD, "good")


async def test_a_delete_in_probation_leaves_nothing(rig: Rig) -> None:
    update = await on_trial(rig)
    await rig.want(changed(update, 3, DesiredState.DELETED))
    await rig.until(update.instance_id, Phase.REMOVED)
    assert not directory(rig, update).exists()
    assert rig.engine.containers == {}


async def test_a_delete_while_going_back_leaves_nothing(rig: Rig) -> None:
    desired = await running(rig)
    breaks(rig)
    await rig.want(asking(desired, 2))
    await rig.want(changed(desired, 3, DesiredState.DELETED))
    await rig.until(desired.instance_id, Phase.REMOVED)
    assert not directory(rig, desired).exists()


async def test_another_plan_in_probation_keeps_the_trial_and_its_way_back(rig: Rig) -> None:
    update = await on_trial(rig)
    larger = asking(
        update, 3, image_revision=1, channel=Channel.TELEGRAM, limits=make_limits(memory_bytes=512 * 1024**2)
    )
    await rig.want(larger)
    await wait_until(lambda: rig.phases(update.instance_id).count(Phase.STARTING) == 3)
    assert image_of(rig, update) == f"sha256:{NEW}"
    await wait_until(lambda: rig.phases(update.instance_id)[-1] is Phase.RUNNING)
    rig.engine.end(rig.engine.containers[update.instance_id], 1)
    after = await settled(rig, larger)
    assert (after.reason, image_of(rig, update), state_of(rig, update)) == (Reason.UPDATE_ROLLED_BACK, GOOD, "good")
    assert rig.engine.containers[update.instance_id].spec.resources.memory_bytes == 512 * 1024**2


async def test_another_update_in_probation_goes_back_to_the_last_confirmed_one(rig: Rig) -> None:
    update = await on_trial(rig)
    breaks(rig, NEWER)
    newer = asking(update, 3, NEWER)
    await rig.want(newer)
    after = await settled(rig, newer)
    assert after.rejected
    assert (after.rejected.reference, image_of(rig, update), state_of(rig, update)) == (NEWER, GOOD, "good")


async def test_asking_for_the_old_one_in_probation_gets_it_with_the_present_state(rig: Rig) -> None:
    update = await on_trial(rig)
    back = asking(update, 3, rig.engine.containers[update.instance_id].spec.image)
    old = back.model_copy(update={"spec": back.spec.model_copy(update={"image": "clawstead-standin:test"})})
    await rig.want(old)
    await wait_until(lambda: rig.engine.containers.get(update.instance_id) and image_of(rig, update) == GOOD)
    quick_probation(rig, 0)
    await rig.queue.submit(update.instance_id)
    after = await settled(rig, old)
    assert (after.rejected, state_of(rig, update)) == (None, "new")


async def test_an_update_of_a_stopped_instance_happens_at_its_start(rig: Rig) -> None:
    desired = await running(rig)
    await rig.want(changed(desired, 2, DesiredState.STOPPED))
    await rig.until(desired.instance_id, Phase.STOPPED)
    update = asking(desired, 3)
    await rig.want(update.model_copy(update={"desired_state": DesiredState.STOPPED}))
    assert "pull" not in rig.engine.calls
    quick_probation(rig, 0)
    await rig.want(changed(update, 4))
    after = await settled(rig, changed(update, 4))
    assert after.image
    assert after.image.digest == f"sha256:{NEW}"


async def test_an_instance_that_failed_for_good_can_be_updated_out_of_it(rig: Rig) -> None:
    rig.engine.starting = lambda container: rig.engine.end(container, 78)
    desired = wanted()
    await rig.want(desired)
    await rig.until(desired.instance_id, Phase.FAILED)
    rig.engine.starting = lambda container: (
        rig.engine.end(container, 78) if container.state.image_reference != NEW else None
    )
    quick_probation(rig, 0)
    await rig.want(asking(desired, 2))
    after = await settled(rig, asking(desired, 2))
    assert after.image
    assert after.image.digest == f"sha256:{NEW}"


async def test_a_start_that_no_end_was_told_of_is_no_fault_of_the_image(rig: Rig) -> None:
    """As after a restart of the engine."""
    update = await on_trial(rig)
    container = rig.engine.containers[update.instance_id]
    container.state = replace(container.state, started_at=datetime.now(UTC))
    quick_probation(rig, 0)
    await rig.queue.submit(update.instance_id)
    after = await settled(rig, update)
    assert (after.rejected, image_of(rig, update), after.restart_count) == (None, f"sha256:{NEW}", 1)
