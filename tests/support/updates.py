"""Updates of instances asked for, broken, waited for."""

from pathlib import Path
from typing import Any

from clawstead_shared.events import Desired, Observed, Phase
from clawstead_shared.subjects import Topic
from tests.support.factories import STANDIN_IMAGE, make_spec
from tests.support.fake_engine import FakeContainer
from tests.support.provisioner_rig import Rig, wanted
from tests.support.wait import wait_until

NEW = "registry.test/openclaw:2"
GOOD = f"sha256:{STANDIN_IMAGE}"


def quick_probation(rig: Rig, seconds: float = 0.05) -> None:
    object.__setattr__(rig.reconciler._tools.patience, "probation_seconds", seconds)


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


async def settled(rig: Rig, desired: Desired, timeout: float = 10) -> Observed:
    """Wait until a generation runs and nothing is under way."""

    async def quiet() -> Observed | None:
        last = await rig.observed(desired.instance_id)
        done = last and last.phase is Phase.RUNNING and last.progress is None
        return last if done and last and last.generation == desired.generation else None

    found = await wait_until(quiet, timeout=timeout, what=f"settled (is {await rig.observed(desired.instance_id)})")
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
