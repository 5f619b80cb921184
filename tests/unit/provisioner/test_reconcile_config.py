"""A config that its owner edits by hand."""

from pathlib import Path

import pytest

from clawstead_shared.events import Desired, DesiredState, Observed, Phase, Reason, RestartRequest
from tests.support.provisioner_rig import Rig, wanted
from tests.support.wait import wait_until


@pytest.fixture
async def desired(rig: Rig) -> Desired:
    """What a running instance was asked to be."""
    desired = wanted()
    await rig.want(desired)
    await rig.until(desired.instance_id, Phase.RUNNING)
    return desired


def config_of(rig: Rig, desired: Desired) -> Path:
    return rig.settings.instances_dir / desired.instance_id / "config" / "openclaw.json"


async def restarted(rig: Rig, desired: Desired, generation: int) -> Observed:
    """Ask for a restart of the present start, and return what was said then."""
    before = await rig.observed(desired.instance_id)
    assert before
    restart = RestartRequest(count=generation, judged_start=before.started_at)
    await rig.want(desired.model_copy(update={"generation": generation, "restart": restart}))
    await wait_until(lambda: rig.bus.events[-1].data.phase is Phase.RUNNING)
    observed = await rig.observed(desired.instance_id)
    assert observed
    return observed


async def test_a_restart_with_garbage_leaves_the_gateway_running_so_that_it_can_be_repaired(
    rig: Rig, desired: Desired
) -> None:
    before = await rig.observed(desired.instance_id)
    assert before
    path = config_of(rig, desired)
    good = path.read_text()
    path.write_text(good[:-4])
    observed = await restarted(rig, desired, 2)
    assert (observed.phase, observed.reason) == (Phase.RUNNING, Reason.CONFIG_INVALID)
    assert observed.started_at == before.started_at
    assert "near line" in (observed.message or "")
    assert path.read_text() == good[:-4]

    path.write_text(good)
    observed = await restarted(rig, desired, 3)
    assert observed.reason is None
    assert observed.started_at != before.started_at


async def test_garbage_is_not_started_from_and_a_correction_is(rig: Rig, desired: Desired) -> None:
    await rig.want(desired.model_copy(update={"generation": 2, "desired_state": DesiredState.STOPPED}))
    await rig.until(desired.instance_id, Phase.STOPPED)
    path = config_of(rig, desired)
    path.write_text("garbage")
    await rig.want(desired.model_copy(update={"generation": 3}))
    observed = await rig.until(desired.instance_id, Phase.FAILED)
    assert observed.reason is Reason.CONFIG_INVALID
    path.unlink()
    await rig.want(desired.model_copy(update={"generation": 4}))
    await rig.until(desired.instance_id, Phase.RUNNING)
    assert path.exists()


async def test_comments_survive_a_start_that_changes_nothing(rig: Rig, desired: Desired) -> None:
    path = config_of(rig, desired)
    text = "// mine\n" + path.read_text()
    path.write_text(text)
    await restarted(rig, desired, 2)
    assert path.read_text() == text


async def test_what_the_platform_needs_is_put_back_at_the_next_start(rig: Rig, desired: Desired) -> None:
    path = config_of(rig, desired)
    text = path.read_text()
    path.write_text(text.replace('"bind": "lan"', '"bind": "loopback"'))
    await restarted(rig, desired, 2)
    assert path.read_text() == text
