"""The real gateway where it goes wrong: removed under its lease, and given a config that only it can refuse."""

import json
import time

import pytest

from tests.e2e.conftest import require_image
from tests.e2e.engine import Engine
from tests.e2e.operations import Operations
from tests.support.wait import wait_until

IMAGE = "openclaw:local"
BOOT_SECONDS = 180
LEASE_SECONDS = 300
"""How long another host name would have to wait for a dead gateway's lease."""

pytestmark = pytest.mark.slow


@pytest.fixture
async def gateway(operations: Operations) -> str:
    """A running instance of the real gateway."""
    require_image(IMAGE)
    instance_id = await operations.create(name="real", image=IMAGE)
    await operations.reached(instance_id, "running", timeout=BOOT_SECONDS)
    return instance_id


async def test_a_gateway_that_was_removed_under_its_lease_is_made_again_at_once(
    operations: Operations, engine: Engine, gateway: str
) -> None:
    lost = engine.container(gateway)
    begun = time.monotonic()
    lost.remove(force=True)
    await wait_until(
        lambda: [found.id for found in engine.containers(gateway)] not in ([], [lost.id]), timeout=30, what="made again"
    )
    await operations.serves(gateway, 200, timeout=BOOT_SECONDS)
    assert time.monotonic() - begun < LEASE_SECONDS
    found = engine.container(gateway)
    assert found.attrs["Config"]["Hostname"] == lost.attrs["Config"]["Hostname"] == gateway
    assert b"lease is still active" not in found.logs()


async def test_a_config_that_only_the_gateway_refuses_fails_once_with_its_own_words(
    operations: Operations, engine: Engine, gateway: str
) -> None:
    path = operations.platform.data_dir / "instances" / gateway / "config" / "openclaw.json"
    config = json.loads(path.read_text())
    # To the schema it is a text; only the gateway knows which texts are durations.
    config.setdefault("session", {}).setdefault("maintenance", {})["pruneAfter"] = "nonsense"
    path.write_text(json.dumps(config))
    await operations.command(gateway, "restart")
    body = await operations.reached(gateway, "failed", timeout=BOOT_SECONDS)
    assert body["reason"] == "config_invalid"
    assert "the gateway refuses its config" in body["message"]
    assert "pruneAfter" in body["message"]
    assert body["exit"]["code"] == 78
    assert engine.container(gateway).status == "exited"
