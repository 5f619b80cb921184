"""An instance whose image keeps another contract than OpenClaw's own."""

from pathlib import Path
from typing import Any

import pytest

from clawstead_provisioner.vault import InstanceSecrets
from clawstead_shared.events import Channel, Desired, Phase, Provider, Reason
from tests.support.factories import make_spec
from tests.support.provisioner_rig import GATEWAY_TOKEN, Rig, wanted

IMAGE = "coollabsio/openclaw:latest"


@pytest.fixture
def rig(rig: Rig) -> Rig:
    rig.secrets.default = InstanceSecrets(GATEWAY_TOKEN, bot_token="1:bot", api_key="sk-1")
    return rig


def of_image(image: str, **spec: Any) -> Desired:
    desired = wanted()
    spec = {"provider": Provider.GEMINI, **spec}
    return desired.model_copy(update={"spec": make_spec(desired.instance_id, image=image, **spec)})


async def running(rig: Rig, image: str, **spec: Any) -> str:
    rig.engine.images.setdefault(image, {})
    desired = of_image(image, **spec)
    await rig.want(desired)
    await rig.until(desired.instance_id, Phase.RUNNING)
    return desired.instance_id


async def test_keys_and_tokens_are_where_the_image_reads_them(rig: Rig, tmp_path: Path) -> None:
    instance_id = await running(rig, IMAGE, channel=Channel.TELEGRAM)
    assert set(rig.engine.containers[instance_id].spec.secret_env) == {
        f"OPENCLAW_GATEWAY_TOKEN={GATEWAY_TOKEN}",
        f"AUTH_PASSWORD={GATEWAY_TOKEN}",
        "TELEGRAM_BOT_TOKEN=1:bot",
        "GEMINI_API_KEY=sk-1",
    }
    config = tmp_path / "instances" / instance_id / "config"
    assert [path.name for path in config.iterdir()] == ["clawstead.json"], "and in no file"


async def test_the_images_own_paths_are_asked_and_told(rig: Rig) -> None:
    instance_id = await running(rig, IMAGE)
    observed = await rig.observed(instance_id)
    assert observed
    assert (observed.startup_path, observed.health_path) == ("/healthz", "/healthz")
    assert set(rig.gateway.asked) == {"/healthz"}


async def test_a_container_keeps_the_profile_its_image_had_when_the_tag_moves(rig: Rig) -> None:
    rig.engine.images["moving:1"] = {"ing.clawstead.profile": "coollabs"}
    instance_id = await running(rig, "moving:1")
    made = rig.engine.containers[instance_id].state.id
    rig.engine.images["moving:1"] = {}
    await rig.reconciler.reconcile(instance_id)
    assert rig.engine.containers[instance_id].state.id == made
    assert rig.engine.containers[instance_id].spec.container_port == 8080


async def test_an_image_with_an_unknown_profile_fails_with_what_there_is(rig: Rig) -> None:
    rig.engine.images["odd:1"] = {"ing.clawstead.profile": "nonsense"}
    desired = of_image("odd:1")
    await rig.want(desired)
    observed = await rig.until(desired.instance_id, Phase.FAILED)
    assert observed.reason is Reason.IMAGE_UNUSABLE
    assert "profile nonsense" in (observed.message or "")


async def test_an_image_that_needs_a_key_is_not_started_without_one(rig: Rig) -> None:
    rig.engine.images[IMAGE] = {}
    desired = of_image(IMAGE, provider=None)
    await rig.want(desired)
    observed = await rig.until(desired.instance_id, Phase.FAILED)
    assert observed.reason is Reason.CONFIG_INVALID
    assert "API key" in (observed.message or "")
    assert "start" not in rig.engine.calls
