"""What owners and operators change about running instances, end to end, with the stand-in gateway."""

import signal

import psutil

from tests.e2e.engine import Engine
from tests.e2e.operations import Operations
from tests.support.registry import BREAKS, SERVES, Registry
from tests.support.wait import wait_until

_PROBATION_SECONDS = 40


async def test_an_update_keeps_everything_but_the_image_and_a_bad_one_goes_back(
    operations: Operations, engine: Engine, registry: Registry
) -> None:
    instance_id = await operations.create(name="updated")
    before = await operations.reached(instance_id, "running")
    config = operations.platform.data_dir / "instances" / instance_id / "config"
    (config / "mine.txt").write_text("mine")

    good = registry.push("good", SERVES)
    await operations.post(instance_id, "update", image=f"{registry.repository}:good")
    after = await operations.confirmed(instance_id, timeout=_PROBATION_SECONDS)
    assert (after["port"], after["gateway_token"]) == (before["port"], before["gateway_token"])
    assert after["rejected_image"] is None, after["rejected_image"]
    assert after["running_image"]["digest"] == good
    assert (config / "mine.txt").read_text() == "mine"

    bad = registry.push("bad", BREAKS, code=1)
    await operations.post(instance_id, "update", image=f"{registry.repository}:bad")
    back = await operations.confirmed(instance_id, timeout=_PROBATION_SECONDS)
    assert back["reason"] == "update_rolled_back"
    assert back["rejected_image"]["digest"] == bad
    assert "cannot migrate" in back["rejected_image"]["message"]
    assert back["running_image"]["digest"] == good
    assert (await operations.client.site(instance_id, "/version")).text == "good"
    assert (config / "state").read_text().strip() == "good"
    engine.container(instance_id)


async def test_a_rotated_token_replaces_the_old_one(operations: Operations, engine: Engine) -> None:
    instance_id = await operations.create(name="rotated")
    old = (await operations.reached(instance_id, "running"))["gateway_token"]
    await operations.post(instance_id, "rotate-token")
    new = (await operations.reached(instance_id, "running"))["gateway_token"]
    environment = engine.container(instance_id).attrs["Config"]["Env"]
    assert new != old
    assert any(new in variable for variable in environment)
    assert not any(old in variable for variable in environment)


async def test_another_plan_changes_the_limits_while_the_gateway_runs(operations: Operations, engine: Engine) -> None:
    instance_id = await operations.create(name="grows", plan="free")
    await operations.reached(instance_id, "running")
    before = engine.container(instance_id)
    response = await operations.client.api("PATCH", f"/instances/{instance_id}", json={"plan": "pro"})
    assert response.status_code == 202, response.text
    after = await operations.reached(instance_id, "running")
    container = engine.container(instance_id)
    assert (container.id, container.attrs["State"]["StartedAt"]) == (before.id, before.attrs["State"]["StartedAt"])
    assert container.attrs["HostConfig"]["Memory"] == 2 * 1024**3
    assert [warning["code"] for warning in after["warnings"]] == ["restart_pending"]


async def test_a_forced_delete_works_while_the_provisioner_hangs(operations: Operations) -> None:
    instance_id = await operations.create(name="forced")
    await operations.reached(instance_id, "running")
    provisioner = psutil.Process(operations.platform.pid("provisioner"))
    provisioner.send_signal(signal.SIGSTOP)
    try:
        response = await operations.client.api("DELETE", f"/instances/{instance_id}", params={"force": "true"})
        assert response.status_code == 202, response.text
        assert (await operations.client.api("GET", f"/instances/{instance_id}")).status_code == 404
    finally:
        provisioner.send_signal(signal.SIGCONT)
    await wait_until(lambda: not (operations.platform.data_dir / "instances" / instance_id).exists(), timeout=30)
    await operations.gone(instance_id)
