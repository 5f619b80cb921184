"""An image with another contract, on the real engine: its port, its user, its password, its way to a config."""

import json

import httpx
import pytest

from clawstead_provisioner.vault import InstanceSecrets
from clawstead_shared.events import Observed, Phase, Provider
from tests.support.factories import make_spec
from tests.support.provisioner_rig import GATEWAY_TOKEN, Rig, wanted

IMAGE = "clawstead-standin:coollabs"

pytestmark = pytest.mark.docker


@pytest.fixture
async def observed(rig: Rig) -> Observed:
    """A running instance of that image."""
    rig.secrets.default = InstanceSecrets(GATEWAY_TOKEN, api_key="sk-1")
    desired = wanted()
    spec = make_spec(desired.instance_id, image=IMAGE, provider=Provider.ANTHROPIC)
    await rig.want(desired.model_copy(update={"spec": spec}))
    return await rig.until(desired.instance_id, Phase.RUNNING, timeout=30)


async def test_it_is_routed_to_the_port_it_serves_and_keeps_its_password(observed: Observed) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{observed.port}") as client:
        assert (await client.get(observed.health_path)).status_code == 200
        assert (await client.get("/startupz")).status_code == 401
        assert (await client.get("/startupz", auth=("admin", GATEWAY_TOKEN))).status_code == 200


async def test_its_config_is_made_from_ours_at_every_start(rig: Rig, observed: Observed) -> None:
    config = rig.settings.instances_dir / observed.instance_id / "config"
    made = json.loads((config / "openclaw.json").read_text())
    assert made["gateway"]["bind"] == "loopback"
    assert made["agents"]["defaults"]["workspace"] == "/data/workspace"
    assert made == json.loads((config / "clawstead.json").read_text())
