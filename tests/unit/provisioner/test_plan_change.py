"""A change of plan: what can be given to a running gateway is, and nothing else is touched."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from clawstead_shared.events import Desired, DesiredState, Observed, Phase, Reason, RestartRequest, WarningCode
from tests.support.factories import make_limits, make_spec
from tests.support.provisioner_rig import Rig, wanted
from tests.support.wait import wait_until

MIB = 1024 * 1024
PRO: dict[str, Any] = {"cpus": 0.25, "memory_bytes": 2048 * MIB, "pids": 256}


async def running(rig: Rig) -> tuple[Desired, Observed]:
    desired = wanted()
    await rig.want(desired)
    return desired, await rig.until(desired.instance_id, Phase.RUNNING)


def changed(desired: Desired, generation: int = 2, **fields: Any) -> Desired:
    limits = make_limits(**fields.pop("limits", {}))
    spec = make_spec(desired.instance_id, limits=limits, **fields)
    return desired.model_copy(update={"generation": generation, "spec": spec})


def config_of(rig: Rig, desired: Desired) -> Path:
    path: Path = rig.settings.instances_dir / desired.instance_id / "config" / "openclaw.json"
    return path


async def test_new_limits_are_given_to_the_running_container(rig: Rig) -> None:
    desired, before = await running(rig)
    await rig.want(changed(desired, limits=PRO))
    after = await rig.observed(desired.instance_id)
    assert after
    assert (after.phase, after.generation, after.reason) == (Phase.RUNNING, 2, None)
    assert (after.container_id, after.started_at) == (before.container_id, before.started_at)
    resources = rig.engine.containers[desired.instance_id].state.resources
    assert (resources.nano_cpus, resources.memory_bytes, resources.pids) == (250_000_000, 2048 * MIB, 256)
    assert not {"stop", "remove"} & set(rig.engine.calls)


async def test_no_more_cpus_are_promised_than_the_host_has(rig: Rig) -> None:
    desired, _ = await running(rig)
    await rig.want(changed(desired, limits={"cpus": 1000}))
    assert rig.engine.containers[desired.instance_id].state.resources.nano_cpus == (os.cpu_count() or 1) * 10**9


async def test_a_new_model_is_written_for_the_running_gateway(rig: Rig) -> None:
    desired, before = await running(rig)
    path = config_of(rig, desired)
    theirs = {**json.loads(path.read_text()), "cron": {"enabled": False}}
    path.write_text(json.dumps(theirs))
    await rig.want(changed(desired, model="anthropic/claude-opus-5", limits={"sessions": 5}))
    after = await rig.observed(desired.instance_id)
    assert after
    assert (after.generation, after.started_at) == (2, before.started_at)
    config = json.loads(path.read_text())
    assert config["agents"]["defaults"]["model"]["primary"] == "anthropic/claude-opus-5"
    assert config["session"]["maintenance"]["maxEntries"] == 5
    assert config["cron"] == {"enabled": False}
    assert "resize" not in rig.engine.calls


async def test_refused_limits_say_why_and_leave_everything_as_it_was(rig: Rig) -> None:
    desired, before = await running(rig)
    container = rig.engine.containers[desired.instance_id]
    container.memory_in_use = 200 * MIB
    smaller = changed(desired, limits={"memory_bytes": 128 * MIB})
    await rig.want(smaller)
    refused = await rig.observed(desired.instance_id)
    assert refused
    assert (refused.phase, refused.reason, refused.generation) == (Phase.RUNNING, Reason.RESIZE_REFUSED, 2)
    assert "more memory" in (refused.message or "")
    assert refused.started_at == before.started_at
    assert container.state.resources.memory_bytes == 256 * MIB
    await rig.queue.submit(desired.instance_id)
    assert await rig.observed(desired.instance_id) == refused, "it is not tried again at once, and stays said"
    rig.reconciler._memories.clear()
    container.memory_in_use = 0
    await rig.queue.submit(desired.instance_id)
    applied = await rig.observed(desired.instance_id)
    assert applied
    assert applied.reason is None
    assert container.state.resources.memory_bytes == 128 * MIB


async def test_limits_that_changed_while_it_was_stopped_count_from_the_start(rig: Rig) -> None:
    desired, before = await running(rig)
    await rig.want(desired.model_copy(update={"generation": 2, "desired_state": DesiredState.STOPPED}))
    await rig.until(desired.instance_id, Phase.STOPPED)
    await rig.want(changed(desired, 3, limits=PRO))
    after = await rig.until(desired.instance_id, Phase.RUNNING)
    container = rig.engine.containers[desired.instance_id]
    assert container.spec.resources.memory_bytes == 2048 * MIB
    assert container.spec.heap_mib == 1024
    assert after.port == before.port


async def test_a_change_while_it_starts_is_made_when_it_is_ready(rig: Rig) -> None:
    rig.gateway.up = False
    desired = wanted()
    await rig.want(desired)
    await rig.want(changed(desired, limits=PRO, model="anthropic/claude-opus-5"))
    starting = await rig.observed(desired.instance_id)
    assert starting
    assert (starting.phase, starting.generation) == (Phase.STARTING, 2)
    assert "resize" not in rig.engine.calls
    rig.gateway.up = True
    await rig.until(desired.instance_id, Phase.RUNNING)
    assert rig.engine.containers[desired.instance_id].state.resources.memory_bytes == 2048 * MIB
    assert "claude-opus-5" in config_of(rig, desired).read_text()


async def test_a_change_that_a_crash_of_the_provisioner_cut_off_is_made(rig: Rig) -> None:
    desired, _ = await running(rig)
    rig.reconciler._memories.clear()
    await rig.want(changed(desired, limits=PRO))
    assert rig.engine.containers[desired.instance_id].state.resources.memory_bytes == 2048 * MIB


async def test_a_config_that_the_owner_broke_does_not_stop_a_running_gateway(rig: Rig) -> None:
    desired, before = await running(rig)
    config_of(rig, desired).write_text('{"foo": 1}')
    await rig.want(changed(desired, limits=PRO))
    observed = await rig.observed(desired.instance_id)
    assert observed
    assert (observed.phase, observed.reason, observed.started_at) == (
        Phase.RUNNING,
        Reason.CONFIG_INVALID,
        before.started_at,
    )


async def test_nothing_is_written_over_what_the_gateway_wrote_meanwhile(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    desired, _ = await running(rig)
    path, storage = config_of(rig, desired), rig.reconciler._tools.storage
    reading = storage.open

    async def overtaken(instance_id: str, profile: Any) -> Any:
        opened = await reading(instance_id, profile)
        path.write_text(json.dumps({**json.loads(path.read_text()), "cron": {"enabled": False}}))
        monkeypatch.undo()
        return opened

    monkeypatch.setattr(storage, "open", overtaken)
    event = changed(desired, model="anthropic/claude-opus-5")
    with pytest.raises(Exception, match="changed in the meantime"):
        await rig.want(event)
    await rig.queue.submit(desired.instance_id)
    config = json.loads(path.read_text())
    assert config["cron"] == {"enabled": False}
    assert config["agents"]["defaults"]["model"]["primary"] == "anthropic/claude-opus-5"


def codes(observed: Observed | None) -> list[WarningCode]:
    assert observed
    return [warning.code for warning in observed.warnings]


async def test_memory_below_what_the_gateway_needs_is_a_warning(rig: Rig) -> None:
    desired, observed = await running(rig)
    assert codes(observed) == [WarningCode.MEMORY_BELOW_MINIMUM]
    assert "1280 MiB" in observed.warnings[0].message
    await rig.want(changed(desired, limits={"memory_bytes": 1536 * MIB}))
    assert WarningCode.MEMORY_BELOW_MINIMUM not in codes(await rig.observed(desired.instance_id))


async def test_the_heap_follows_at_the_next_start_and_until_then_it_is_a_warning(rig: Rig) -> None:
    desired, before = await running(rig)
    larger = changed(desired, limits=PRO)
    await rig.want(larger)
    assert codes(await rig.observed(desired.instance_id)) == [WarningCode.RESTART_PENDING]
    request = RestartRequest(count=1, judged_start=before.started_at)
    await rig.want(larger.model_copy(update={"generation": 3, "restart": request}))
    await wait_until(lambda: rig.phases(desired.instance_id)[-1] is Phase.RUNNING)
    after = await rig.observed(desired.instance_id)
    assert codes(after) == []
    assert after
    assert after.port == before.port
    assert rig.engine.containers[desired.instance_id].state.heap_mib == 1024


async def test_warnings_are_published_on_change_only(rig: Rig) -> None:
    desired, _ = await running(rig)
    said = len(rig.phases(desired.instance_id))
    for _ in range(3):
        await rig.queue.submit(desired.instance_id)
    assert len(rig.phases(desired.instance_id)) == said
