"""The provisioner dies at every place of one update, one after the other (C7, C14): the next one goes on, or back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clawstead_provisioner.crashpoints import Place
from clawstead_shared.events import Desired, Observed, Phase, Reason
from clawstead_shared.messaging import Bus
from tests.support.factories import make_spec
from tests.support.invariants import check_objects
from tests.support.nats_server import NatsServer
from tests.support.provisioner_process import ProvisionerProcess
from tests.support.provisioner_rig import wanted
from tests.support.registry import BREAKS, SERVES, Registry
from tests.support.wait import wait_until
from tests.support.wishes import entrust, newest, want

pytestmark = pytest.mark.docker

ON_THE_WAY = [
    Place.IMAGE_RESOLVED,
    Place.CONTAINER_STOPPED,
    Place.STATE_KEPT,
    Place.CONTAINER_REMOVED,
    Place.CONTAINER_MADE,
    Place.CONTAINER_STARTED,
    Place.GATEWAY_READY,
    Place.UPDATE_CONFIRMED,
]
ON_THE_WAY_BACK = [
    Place.STATE_KEPT,
    Place.CONTAINER_STARTED,
    Place.CANDIDATE_GIVEN_UP,
    Place.STATE_RESTORED,
    Place.CONTAINER_MADE,
    Place.WAY_BACK_ENDED,
]


class Mortal:
    """A provisioner that is started again whenever it died."""

    def __init__(self, process: ProvisionerProcess, budget: Path) -> None:
        self.process = process
        self._budget = budget

    def arm(self, place: Place, times: int) -> None:
        (self._budget / place).write_text(str(times))

    def left(self, place: Place) -> int:
        return int((self._budget / place).read_text())

    def revive(self) -> None:
        if self.process.exit_code is not None:
            assert self.process.exit_code == 137
            self.process.start()


@pytest.fixture
def provisioner(tmp_path: Path, nats_server: NatsServer, registry: Registry, installation: str) -> Iterator[Mortal]:
    budget = tmp_path / "budget"
    budget.mkdir()
    process = ProvisionerProcess(
        tmp_path / "data",
        nats_server.url,
        installation,
        CLAWSTEAD_CRASHPOINT=",".join(Place),
        CLAWSTEAD_CRASHPOINT_BUDGET=str(budget),
        CLAWSTEAD_PROBATION_SECONDS="0.5",
    )
    yield Mortal(process, budget)
    process.kill()


async def settled(bus: Bus, provisioner: Mortal, desired: Desired) -> Observed:
    async def quiet() -> Observed | None:
        provisioner.revive()
        last = await newest(bus, desired)
        done = last and last.generation == desired.generation and last.phase is Phase.RUNNING and not last.progress
        return last if done else None

    found = await wait_until(quiet, timeout=120, what=f"settled, is {await newest(bus, desired)}")
    assert found
    return found


def of(registry: Registry, desired: Desired, tag: str, generation: int) -> Desired:
    image = f"{registry.repository}:{tag}"
    spec = make_spec(desired.instance_id, image=image, image_revision=generation - 1)
    return desired.model_copy(update={"generation": generation, "spec": spec})


@pytest.mark.parametrize(
    ("script", "places", "times"),
    [
        pytest.param(SERVES, ON_THE_WAY, 1, id="on-the-way"),
        pytest.param(BREAKS, ON_THE_WAY_BACK, 2, id="on-the-way-back-twice"),
    ],
)
async def test_an_update_goes_on_or_back_after_a_death_at_each_place(
    bus: Bus,
    provisioner: Mortal,
    registry: Registry,
    installation: str,
    docker_client: Any,
    script: str,
    places: list[Place],
    times: int,
) -> None:
    versions = {"1": registry.push("1", SERVES), "2": registry.push("2", script)}
    provisioner.process.start()
    await provisioner.process.ready()
    desired = of(registry, wanted(), "1", 1)
    await entrust(bus, desired)
    await want(bus, desired)
    before = await settled(bus, provisioner, desired)
    for place in places:
        provisioner.arm(place, times)
    update = of(registry, desired, "2", 2)
    await want(bus, update)
    after = await settled(bus, provisioner, update)
    assert not [place for place in places if provisioner.left(place) == times], "it came by every place"
    instances = provisioner.process.data_dir / "instances"
    expected = "2" if script == SERVES else "1"
    assert after.image
    assert (after.image.digest, after.port) == (versions[expected], before.port)
    assert (instances / desired.instance_id / "config" / "state").read_text().strip() == expected
    assert not [path.name for path in (instances / desired.instance_id).iterdir() if "snapshot" in path.name]
    check_objects(docker_client, installation, instances, [desired.instance_id])
    if script == SERVES:
        assert (after.reason, after.rejected) == (None, None)
    else:
        assert after.reason is Reason.UPDATE_ROLLED_BACK
        assert after.rejected
        assert after.rejected.digest == versions["2"]
    assert json.loads((instances / desired.instance_id / "config" / "openclaw.json").read_text())
