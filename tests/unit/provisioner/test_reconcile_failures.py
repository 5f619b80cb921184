"""What goes wrong: the reason is said, what was half made is cleaned up, and what may help is tried."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from clawstead_provisioner.memory import RESTARTS_ALLOWED
from clawstead_provisioner.port_allocation import candidates
from clawstead_provisioner.vault import InstanceSecrets
from clawstead_shared.errors import TransientError
from clawstead_shared.events import Channel, Desired, DesiredState, Phase, Provider, Reason, SecretRef
from tests.support.factories import desired_event, make_spec
from tests.support.fake_engine import FakeContainer
from tests.support.provisioner_rig import GATEWAY_TOKEN, Rig, wanted
from tests.support.wait import wait_until


def of_image(image: str, **spec: Any) -> Desired:
    desired = wanted()
    return desired.model_copy(update={"spec": make_spec(desired.instance_id, image=image, **spec)})


def nothing_is_left(rig: Rig) -> bool:
    directories: list[Path] = list(rig.settings.instances_dir.glob("*"))
    return not rig.engine.containers and not rig.engine.networks and not directories


async def running(rig: Rig) -> tuple[Desired, FakeContainer]:
    desired = wanted()
    await rig.want(desired)
    await rig.until(desired.instance_id, Phase.RUNNING)
    return desired, rig.engine.containers[desired.instance_id]


async def running_again(rig: Rig, instance_id: str, times: int) -> None:
    await wait_until(lambda: rig.phases(instance_id).count(Phase.RUNNING) == times)


async def test_a_killed_container_comes_back(rig: Rig) -> None:
    desired, container = await running(rig)
    rig.engine.end(container, 137)
    await wait_until(lambda: rig.phases(desired.instance_id).count(Phase.RUNNING) == 2)
    observed = await rig.until(desired.instance_id, Phase.RUNNING)
    assert observed.restart_count == 1
    assert observed.exit
    assert (observed.exit.code, observed.exit.oom_killed) == (137, False)


async def test_an_end_is_said_before_the_engine_is_asked_about_it(rig: Rig) -> None:
    desired, _ = await running(rig)
    asked: list[Phase] = []
    inspect = rig.engine.inspect

    async def slow(instance_id: str) -> Any:
        asked.append(rig.phases(instance_id)[-1])
        return await inspect(instance_id)

    rig.engine.inspect = slow
    rig.engine.end(rig.engine.containers[desired.instance_id], 137)
    await wait_until(lambda: asked)
    assert asked[0] is Phase.STARTING
    after = await rig.until(desired.instance_id, Phase.RUNNING)
    assert after.restart_count == 1


async def test_a_container_removed_by_hand_comes_back_on_its_port(rig: Rig) -> None:
    desired, container = await running(rig)
    rig.engine.end(container, 137)
    await rig.engine.remove(desired.instance_id)
    await wait_until(lambda: rig.phases(desired.instance_id).count(Phase.RUNNING) == 2)
    observed = await rig.until(desired.instance_id, Phase.RUNNING)
    assert observed.port == container.spec.port
    assert observed.restart_count == 1


async def test_out_of_memory_is_the_reason_of_the_restart(rig: Rig) -> None:
    desired, container = await running(rig)
    rig.gateway.up = False
    rig.engine.end(container, 137, oom=True)
    rig.engine.run(container)
    observed = await rig.until(desired.instance_id, Phase.STARTING)
    assert observed.reason is Reason.OUT_OF_MEMORY
    assert observed.exit
    assert observed.exit.oom_killed


async def test_a_refused_config_ends_it_with_the_gateways_own_words(rig: Rig) -> None:
    def refuse(container: FakeContainer) -> None:
        container.output = f"Gateway failed to start: Invalid config: token {GATEWAY_TOKEN} is short"
        rig.engine.end(container, 78)

    rig.engine.starting = refuse
    desired = wanted()
    await rig.want(desired)
    observed = await rig.until(desired.instance_id, Phase.FAILED)
    assert observed.reason is Reason.CONFIG_INVALID
    assert "Gateway failed to start" in (observed.message or "")
    assert GATEWAY_TOKEN not in (observed.message or "")
    assert observed.exit
    assert observed.exit.code == 78
    starts = rig.engine.calls.count("start")
    await rig.sweep.once()
    await asyncio.sleep(0.05)
    assert rig.engine.calls.count("start") == starts, "a refused config is never started again"
    rig.engine.starting = lambda _: None
    await rig.want(desired.model_copy(update={"generation": 2}))
    await rig.until(desired.instance_id, Phase.RUNNING)


async def test_a_crash_loop_is_bounded(rig: Rig) -> None:
    desired, container = await running(rig)
    for restarts in range(1, RESTARTS_ALLOWED + 1):
        rig.engine.end(container, 1)
        await running_again(rig, desired.instance_id, restarts + 1)
    rig.engine.end(container, 1)
    observed = await rig.until(desired.instance_id, Phase.FAILED)
    assert observed.reason is Reason.CRASH_LOOP
    assert "exit code 1" in (observed.message or "")
    assert observed.restart_count == RESTARTS_ALLOWED
    await rig.want(desired.model_copy(update={"generation": 2}))
    await rig.until(desired.instance_id, Phase.RUNNING)


async def test_a_foreign_port_is_moved_away_from(rig: Rig) -> None:
    desired = wanted()
    taken = next(candidates(desired.instance_id, 10000, 20000))
    rig.engine.foreign_ports = {taken}
    await rig.want(desired)
    observed = await rig.until(desired.instance_id, Phase.RUNNING)
    assert observed.port != taken
    assert observed.restart_count == 0
    assert rig.engine.containers[desired.instance_id].spec.port == observed.port
    assert len(rig.engine.containers) == len(rig.engine.networks) == 1


async def test_a_missing_image_that_is_only_built_here_is_named_with_the_way_to_get_it(rig: Rig) -> None:
    desired = of_image("openclaw:local")
    await rig.want(desired)
    observed = await rig.until(desired.instance_id, Phase.FAILED)
    assert observed.reason is Reason.IMAGE_MISSING
    assert "images/openclaw/build.sh" in (observed.message or "")
    assert "pull" not in rig.engine.calls
    assert nothing_is_left(rig)


async def test_an_image_that_can_be_pulled_is_pulled_once_for_all(rig: Rig) -> None:
    rig.engine.registry["registry.test/openclaw:1"] = {}
    wants = [of_image("registry.test/openclaw:1") for _ in range(3)]
    await asyncio.gather(*(rig.want(desired) for desired in wants))
    for desired in wants:
        await rig.until(desired.instance_id, Phase.RUNNING)
    assert rig.engine.calls.count("pull") == 1


async def test_an_image_that_cannot_be_pulled_fails_the_instance(rig: Rig) -> None:
    desired = of_image("registry.test/nothing:1")
    await rig.want(desired)
    observed = await rig.until(desired.instance_id, Phase.FAILED)
    assert observed.reason is Reason.IMAGE_MISSING
    assert "cannot be pulled" in (observed.message or "")
    assert nothing_is_left(rig)


async def test_a_change_to_a_missing_image_leaves_the_old_container_running(rig: Rig) -> None:
    desired, container = await running(rig)
    spec = make_spec(desired.instance_id, image="openclaw:local")
    await rig.want(desired.model_copy(update={"generation": 2, "spec": spec}))
    observed = await rig.observed(desired.instance_id)
    assert observed
    assert (observed.phase, observed.reason, observed.generation) == (Phase.RUNNING, Reason.IMAGE_MISSING, 2)
    assert rig.engine.containers[desired.instance_id] is container
    await rig.queue.submit(desired.instance_id)
    assert await rig.observed(desired.instance_id) == observed


async def test_a_foreign_name_fails_the_instance_and_is_not_touched(rig: Rig) -> None:
    desired = wanted()
    rig.engine.foreign_names.add(desired.instance_id)
    await rig.want(desired)
    observed = await rig.until(desired.instance_id, Phase.FAILED)
    assert observed.reason is Reason.NAME_TAKEN
    assert nothing_is_left(rig)


async def test_missing_secrets_are_waited_for_then_reported(rig: Rig) -> None:
    rig.secrets.default = None
    desired = wanted()
    await rig.bus.publish(desired_event(desired))
    for _ in range(3):
        with pytest.raises(TransientError):
            await rig.queue.submit(desired.instance_id)
    await rig.queue.submit(desired.instance_id)
    observed = await rig.until(desired.instance_id, Phase.FAILED)
    assert observed.reason is Reason.SECRETS_MISSING
    rig.secrets.default = InstanceSecrets(GATEWAY_TOKEN)
    await rig.want(desired.model_copy(update={"generation": 2}))
    await rig.until(desired.instance_id, Phase.RUNNING)


async def test_an_engine_outage_fails_what_is_new_and_leaves_what_runs(rig: Rig) -> None:
    old, _ = await running(rig)
    rig.engine.available = False
    await rig.queue.submit(old.instance_id)
    new = wanted()
    await rig.want(new)
    assert (await rig.until(new.instance_id, Phase.FAILED)).reason is Reason.ENGINE_UNAVAILABLE
    assert rig.phases(old.instance_id)[-1] is Phase.RUNNING
    await rig.sweep.once()
    assert "engine" in rig.readiness.waiting
    rig.engine.available = True
    await rig.sweep.once()
    assert rig.readiness.waiting == {}
    await rig.until(new.instance_id, Phase.RUNNING)


async def test_after_a_long_outage_nothing_waits_for_its_next_attempt(rig: Rig) -> None:
    rig.engine.available = False
    new = wanted()
    for _ in range(10):
        await rig.want(new)
    rig.engine.available = True
    await rig.sweep.once()
    await rig.until(new.instance_id, Phase.RUNNING)


async def test_an_end_that_was_told_before_the_engine_went_away_is_said(rig: Rig) -> None:
    desired, _ = await running(rig)
    container = rig.engine.containers[desired.instance_id]
    rig.engine.end(container, 143)
    rig.engine.available = False
    observed = await rig.until(desired.instance_id, Phase.FAILED)
    assert observed.reason is Reason.ENGINE_UNAVAILABLE
    assert observed.exit is not None
    assert observed.exit.code == 143
    rig.engine.available = True
    await rig.sweep.once()
    await rig.until(desired.instance_id, Phase.RUNNING)


async def test_a_config_that_the_gateway_would_refuse_starts_no_container(rig: Rig) -> None:
    desired, _ = await running(rig)
    await rig.want(desired.model_copy(update={"generation": 2, "desired_state": DesiredState.STOPPED}))
    await rig.until(desired.instance_id, Phase.STOPPED)
    path = rig.settings.instances_dir / desired.instance_id / "config" / "openclaw.json"
    path.write_text('{"foo": 1}')
    starts = rig.engine.calls.count("start")
    await rig.want(desired.model_copy(update={"generation": 3}))
    observed = await rig.until(desired.instance_id, Phase.FAILED)
    assert observed.reason is Reason.CONFIG_INVALID
    assert "'foo'" in (observed.message or "")
    assert rig.engine.calls.count("start") == starts
    assert path.read_text() == '{"foo": 1}', "what the owner wrote is theirs to repair"


async def test_a_discord_channel_needs_an_image_with_the_plugin(rig: Rig) -> None:
    desired = of_image("with-discord:1", channel=Channel.DISCORD)
    rig.engine.images["with-discord:1"] = {}
    await rig.want(desired)
    observed = await rig.until(desired.instance_id, Phase.FAILED)
    assert observed.reason is Reason.CONFIG_INVALID
    assert "lacks the Discord plugin" in (observed.message or "")
    rig.engine.images["with-discord:1"] = {"ing.clawstead.plugins": "discord"}
    await rig.want(desired.model_copy(update={"generation": 2}))
    await rig.until(desired.instance_id, Phase.RUNNING)


async def test_secrets_reach_the_instance_and_nothing_else(rig: Rig) -> None:
    rig.secrets.default = InstanceSecrets(GATEWAY_TOKEN, bot_token="123:canary-bot", api_key="sk-canary")
    desired = wanted()
    spec = make_spec(desired.instance_id, channel=Channel.TELEGRAM, provider=Provider.ANTHROPIC)
    await rig.want(desired.model_copy(update={"spec": spec}))
    await rig.until(desired.instance_id, Phase.RUNNING)
    directory = rig.settings.instances_dir / desired.instance_id
    env = (directory / "config" / ".env").read_text()
    assert "ANTHROPIC_API_KEY=sk-canary" in env
    assert "TELEGRAM_BOT_TOKEN=123:canary-bot" in env
    said = "".join(event.data.model_dump_json() for event in rig.bus.events)
    files = "".join(path.read_text() for path in directory.rglob("*.json"))
    container = repr(rig.engine.containers[desired.instance_id].spec)
    for text in (said, files, container):
        assert "canary" not in text
        assert GATEWAY_TOKEN not in text


async def test_new_secrets_get_a_new_container(rig: Rig) -> None:
    desired, container = await running(rig)
    rig.secrets.default = InstanceSecrets("cd" * 32)
    ref = SecretRef(key=desired.instance_id, revision=2)
    await rig.want(desired.model_copy(update={"generation": 2, "secrets": ref}))
    await wait_until(lambda: rig.phases(desired.instance_id).count(Phase.RUNNING) == 2)
    assert rig.engine.containers[desired.instance_id] is not container


async def test_the_same_secrets_under_a_new_revision_do_not(rig: Rig) -> None:
    desired, container = await running(rig)
    ref = SecretRef(key=desired.instance_id, revision=2)
    await rig.want(desired.model_copy(update={"generation": 2, "secrets": ref}))
    assert rig.engine.containers[desired.instance_id] is container
    assert rig.phases(desired.instance_id).count(Phase.RUNNING) == 2


async def test_a_slow_start_is_reported_and_still_waited_for(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clawstead_provisioner.bring_up._GRACE_FACTOR", 0)
    monkeypatch.setattr("clawstead_provisioner.boot_watch._OVERDUE_PAUSE_SECONDS", 0.02)
    object.__setattr__(rig.reconciler._tools.patience, "start_seconds", 0.2)
    rig.gateway.up = False
    desired = wanted()
    await rig.want(desired)
    observed = await rig.until(desired.instance_id, Phase.FAILED)
    assert observed.reason is Reason.START_TIMEOUT
    assert observed.started_at == rig.engine.containers[desired.instance_id].state.started_at
    rig.gateway.up = True
    await rig.until(desired.instance_id, Phase.RUNNING)
    assert rig.engine.calls.count("start") == 1


async def test_a_full_disk_is_reported_and_nothing_half_made_stays(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("clawstead_provisioner.files.os.fsync", full)
        desired = wanted()
        await rig.want(desired)
        assert (await rig.until(desired.instance_id, Phase.FAILED)).reason is Reason.DISK_FULL
    assert nothing_is_left(rig)
