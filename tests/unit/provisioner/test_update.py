"""An update on a fake engine: fetched while the old one runs, tried with a way back, and what failed remembered."""

import pytest

from clawstead_provisioner.errors import ProvisioningError
from clawstead_shared.events import Channel, EventType, Phase, Progress, Reason
from clawstead_shared.subjects import Topic
from tests.support.provisioner_rig import Rig
from tests.support.updates import GOOD, NEW, asking, breaks, directory, quick_probation, running, settled, told
from tests.support.wait import wait_until


@pytest.fixture(autouse=True)
def update_to_try(rig: Rig) -> None:
    quick_probation(rig)
    rig.engine.registry[NEW] = {}


async def test_an_update_keeps_port_token_and_data_and_is_confirmed(rig: Rig) -> None:
    desired = await running(rig)
    before = await rig.observed(desired.instance_id)
    old = rig.engine.containers[desired.instance_id].spec
    (directory(rig, desired) / "config" / "mine").write_text("data")
    update = asking(desired, 2)
    await rig.want(update, EventType.UPDATE_REQUESTED)
    after = await settled(rig, update)
    new = rig.engine.containers[desired.instance_id].spec
    assert before
    assert (after.port, new.secret_env, new.mounts) == (before.port, old.secret_env, old.mounts)
    assert after.image
    assert (after.image.reference, after.image.revision, after.image.digest) == (NEW, 1, f"sha256:{NEW}")
    assert (after.rejected, after.reason) == (None, None)
    assert (directory(rig, desired) / "config" / "mine").read_text() == "data"
    assert not (directory(rig, desired) / "snapshot").exists()
    phases = [(seen.phase, seen.progress is not None) for seen in told(rig, desired)[3:]]
    assert phases == [
        (Phase.RUNNING, True),
        (Phase.UPDATING, False),
        (Phase.STARTING, False),
        (Phase.RUNNING, True),
        (Phase.RUNNING, False),
    ]


async def test_a_broken_version_is_rolled_back_with_its_state(rig: Rig) -> None:
    desired = await running(rig)
    state = directory(rig, desired) / "config" / "state"
    state.write_text("good")
    breaks(rig)
    update = asking(desired, 2)
    await rig.want(update)
    after = await settled(rig, update)
    assert (after.reason, after.image and after.image.digest) == (Reason.UPDATE_ROLLED_BACK, GOOD)
    assert after.rejected
    assert (after.rejected.reference, after.rejected.revision) == (NEW, 1)
    assert "exit code 1: fatal error: cannot migrate" in after.rejected.message
    assert state.read_text() == "good"
    assert not (directory(rig, desired) / "auth" / "new").exists()
    assert sorted(path.name for path in directory(rig, desired).iterdir()) == [
        "applied.json",
        "auth",
        "config",
        "workspace",
    ]
    types = [event.type for event in rig.bus.of(Topic.OBSERVED)]
    assert types.count(EventType.UPDATE_ROLLED_BACK) == 1
    assert after.restart_count == 0
    starts = rig.engine.calls.count("start")
    await rig.sweep.once(everything=True)
    await rig.queue.submit(desired.instance_id)
    assert rig.engine.calls.count("start") == starts, "a version that failed is not tried again by itself"


async def test_what_is_the_same_image_is_only_said(rig: Rig) -> None:
    desired = await running(rig)
    await rig.want(asking(desired, 2))
    before = await settled(rig, asking(desired, 2))
    rig.engine.calls.clear()
    await rig.want(asking(desired, 3))
    after = await settled(rig, asking(desired, 3))
    assert after.image
    assert (after.image.revision, after.image.digest) == (2, f"sha256:{NEW}")
    assert (after.container_id, after.started_at) == (before.container_id, before.started_at)
    assert not {"stop", "create", "start", "remove"} & set(rig.engine.calls)
    assert rig.engine.calls.count("pull") == 1
    await rig.sweep.once(everything=True)
    await rig.queue.submit(desired.instance_id)
    assert rig.engine.calls.count("pull") == 1, "what was said is remembered"


async def test_a_tag_that_moves_changes_nothing_until_an_update_is_asked_for(rig: Rig) -> None:
    desired = await running(rig)
    await rig.want(asking(desired, 2))
    first = await settled(rig, asking(desired, 2))
    rig.engine.registry_digests[NEW] = "sha256:moved"
    await rig.queue.submit(desired.instance_id)
    assert await rig.observed(desired.instance_id) == first
    await rig.want(asking(desired, 3))
    second = await settled(rig, asking(desired, 3))
    assert second.image
    assert second.image.digest == "sha256:moved"
    assert second.container_id != first.container_id


async def test_an_image_that_is_only_here_is_taken_as_it_is(rig: Rig) -> None:
    rig.engine.images["openclaw:local"] = {}
    desired = await running(rig)
    update = asking(desired, 2, "openclaw:local")
    await rig.want(update)
    after = await settled(rig, update)
    assert after.image
    assert after.image.digest == "sha256:openclaw:local"
    assert "pull" not in rig.engine.calls


async def test_a_version_that_failed_is_remembered_and_tried_again_only_by_force(rig: Rig) -> None:
    desired = await running(rig)
    breaks(rig)
    await rig.want(asking(desired, 2))
    before = await settled(rig, asking(desired, 2))
    rig.engine.calls.clear()
    await rig.want(asking(desired, 3))
    refused = await settled(rig, asking(desired, 3))
    assert not {"stop", "create", "start"} & set(rig.engine.calls), "no downtime for what is known"
    assert refused.started_at == before.started_at
    assert refused.rejected
    assert (refused.rejected.revision, refused.reason) == (2, Reason.UPDATE_ROLLED_BACK)
    rig.engine.starting = lambda _: None
    await rig.want(asking(desired, 4, image_forced=True))
    after = await settled(rig, asking(desired, 4, image_forced=True))
    assert (after.rejected, after.image and after.image.digest) == (None, f"sha256:{NEW}")


async def test_another_version_is_tried_after_one_that_failed(rig: Rig) -> None:
    desired = await running(rig)
    breaks(rig)
    await rig.want(asking(desired, 2))
    await settled(rig, asking(desired, 2))
    rig.engine.registry["registry.test/openclaw:3"] = {}
    update = asking(desired, 3, "registry.test/openclaw:3")
    await rig.want(update)
    after = await settled(rig, update)
    assert (after.rejected, after.image and after.image.reference) == (None, "registry.test/openclaw:3")


async def test_a_pull_that_fails_leaves_the_old_one_serving_and_is_tried_again(rig: Rig) -> None:
    desired = await running(rig)
    before = await rig.observed(desired.instance_id)
    labels = rig.engine.registry.pop(NEW)
    await rig.want(asking(desired, 2))

    async def refused() -> bool:
        last = await rig.observed(desired.instance_id)
        return last is not None and last.reason is Reason.IMAGE_MISSING

    await wait_until(refused)
    after = await rig.observed(desired.instance_id)
    assert before
    assert after
    assert (after.phase, after.started_at, after.rejected) == (Phase.RUNNING, before.started_at, None)
    rig.engine.registry[NEW] = labels
    rig.reconciler._tools.pulls._failures.clear()
    rig.reconciler._memories[desired.instance_id]._held_until = 0
    await rig.queue.submit(desired.instance_id)
    assert (await settled(rig, asking(desired, 2))).image


async def test_two_instances_wait_for_one_pull_and_both_show_it(rig: Rig) -> None:
    wants = [await running(rig) for _ in range(2)]
    rig.engine.pull_gate.clear()
    rig.engine.pull_steps = [Progress(step="downloading the image", percent=40)]
    for desired in wants:
        await rig.want(asking(desired, 2))
    for desired in wants:

        async def shown(instance_id: str = desired.instance_id) -> bool:
            last = await rig.observed(instance_id)
            return last is not None and last.progress == Progress(step="downloading the image", percent=40)

        await wait_until(shown)
        assert (await rig.until(desired.instance_id, Phase.RUNNING)).started_at
    rig.engine.pull_gate.set()
    for desired in wants:
        await settled(rig, asking(desired, 2))
    assert rig.engine.calls.count("pull") == 1


async def test_a_change_during_the_pull_does_not_wait_for_it(rig: Rig) -> None:
    desired = await running(rig)
    rig.engine.pull_gate.clear()
    await rig.want(asking(desired, 2))
    other = asking(desired, 3, image_revision=1, channel=Channel.TELEGRAM)
    container = rig.engine.containers[desired.instance_id]
    await rig.want(other)
    await wait_until(lambda: rig.engine.containers.get(desired.instance_id) not in (None, container))
    assert rig.engine.containers[desired.instance_id].state.image_digest == GOOD
    rig.engine.pull_gate.set()
    assert (await settled(rig, other)).image


async def test_a_config_that_the_new_one_cannot_have_is_told_before_anything_stops(rig: Rig) -> None:
    desired = await running(rig)
    (directory(rig, desired) / "config" / "openclaw.json").write_text('{"foo": 1}')
    rig.engine.calls.clear()
    await rig.want(asking(desired, 2))

    async def refused() -> bool:
        last = await rig.observed(desired.instance_id)
        return last is not None and last.reason is Reason.CONFIG_INVALID

    await wait_until(refused)
    assert (await rig.until(desired.instance_id, Phase.RUNNING)).started_at
    assert not {"stop", "create", "start"} & set(rig.engine.calls)


@pytest.mark.parametrize("early", [True, False], ids=["foreseen", "met"])
async def test_an_update_whose_state_cannot_be_kept_is_refused(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, early: bool
) -> None:
    def full(*_: object) -> None:
        raise ProvisioningError(Reason.DISK_FULL, "the disk of the instances is full")

    desired = await running(rig)
    with monkeypatch.context() as patched:
        patched.setattr(rig.reconciler._tools.snapshots, "_check_room" if early else "_take", full)
        await rig.want(asking(desired, 2))
        after = await settled(rig, asking(desired, 2))
    assert after.rejected
    assert (after.reason, after.image and after.image.digest) == (Reason.UPDATE_ROLLED_BACK, GOOD)
    assert "disk of the instances is full" in after.rejected.message
    assert (Phase.UPDATING in rig.phases(desired.instance_id)) is not early
    await rig.want(asking(desired, 3))
    assert (await settled(rig, asking(desired, 3))).rejected is None, "that was not the image's fault"
