"""An update on a fake engine: fetched while the old one runs, tried with a way back, and what failed remembered."""

from pathlib import Path
from typing import Any

import pytest

from clawstead_shared.events import Desired, EventType, Observed, Phase, Reason
from clawstead_shared.subjects import Topic
from tests.support.factories import STANDIN_IMAGE, make_spec
from tests.support.fake_engine import FakeContainer
from tests.support.provisioner_rig import Rig, wanted
from tests.support.wait import wait_until

NEW = "registry.test/openclaw:2"
GOOD = f"sha256:{STANDIN_IMAGE}"


@pytest.fixture(autouse=True)
def short_probation(rig: Rig) -> None:
    object.__setattr__(rig.reconciler._tools.patience, "probation_seconds", 0.05)
    rig.engine.registry[NEW] = {}


async def running(rig: Rig) -> Desired:
    desired = wanted()
    await rig.want(desired)
    await rig.until(desired.instance_id, Phase.RUNNING)
    return desired


def asking(desired: Desired, generation: int, image: str = NEW, **spec: Any) -> Desired:
    fields = {"image": image, "image_revision": generation - 1, **spec}
    return desired.model_copy(update={"generation": generation, "spec": make_spec(desired.instance_id, **fields)})


def directory(rig: Rig, desired: Desired) -> Path:
    return rig.settings.instances_dir / desired.instance_id


def told(rig: Rig, desired: Desired) -> list[Observed]:
    return [event.data for event in rig.bus.of(Topic.OBSERVED) if event.instance_id == desired.instance_id]


async def settled(rig: Rig, desired: Desired) -> Observed:
    """Wait until a generation runs and nothing is under way."""

    async def quiet() -> Observed | None:
        last = await rig.observed(desired.instance_id)
        done = last and last.phase is Phase.RUNNING and last.progress is None
        return last if done and last and last.generation == desired.generation else None

    found = await wait_until(quiet, what=f"settled (is {await rig.observed(desired.instance_id)})")
    assert found
    return found


def breaks(rig: Rig, image: str = NEW, code: int = 1) -> None:
    """Have containers of an image change their state and end as soon as they start."""

    def start(container: FakeContainer) -> None:
        if container.state.image_reference == image:
            instance = rig.settings.instances_dir / container.spec.instance_id
            (instance / "config" / "state").write_text("broken")
            (instance / "auth" / "new").write_text("new")
            container.output = "fatal error: cannot migrate"
            rig.engine.end(container, code)

    rig.engine.starting = start


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
