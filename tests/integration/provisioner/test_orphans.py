"""What is on the engine although nobody wants it: ours goes after its grace, everything else stays."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from clawstead_provisioner.adapters.docker_engine import DockerEngine
from clawstead_provisioner.adapters.docker_strangers import STRANGERS
from clawstead_provisioner.adapters.gateway_http import HttpGateway
from clawstead_shared.ids import new_instance_id
from tests.integration.provisioner.test_lifecycle import running
from tests.support.factories import STANDIN_IMAGE
from tests.support.fake_bus import FakeBus
from tests.support.provisioner_rig import FakeSecrets, Rig, provisioner
from tests.support.wait import wait_until

pytestmark = pytest.mark.docker


@pytest.fixture
async def rig(tmp_path: Path, installation: str, standin: None) -> AsyncIterator[Rig]:
    async with provisioner(
        tmp_path / "data",
        bus=FakeBus(),
        engine=DockerEngine(installation),
        gateway=HttpGateway("127.0.0.1"),
        secrets=FakeSecrets(),
        installation=installation,
        orphan_grace_seconds=0,
    ) as assembled:
        yield assembled


def make(docker_client: Any, name: str, **labels: str) -> Any:
    named = {f"ing.clawstead.{key}": value for key, value in labels.items()}
    return docker_client.containers.create(STANDIN_IMAGE, name=name, labels=named)


async def test_only_what_is_certainly_ours_and_unwanted_is_removed(
    rig: Rig, docker_client: Any, installation: str
) -> None:
    desired, _ = await running(rig)
    stray, other = new_instance_id(), new_instance_id()
    orphan = make(docker_client, f"claw-{stray}", installation=installation, instance=stray, port="garbage")
    kept = [
        make(docker_client, f"odd-{stray}", installation=installation, instance="../../etc"),
        make(docker_client, f"renamed-{stray}", installation=installation, instance=other),
        make(docker_client, f"bare-{stray}", installation=installation),
        make(docker_client, f"claw-{other}", installation=f"{installation}-other", instance=other),
    ]
    try:
        await rig.sweep.once()
        orphan.reload()
        assert STRANGERS._value.get() == 3
        await rig.sweep.once()
        wanted = {"label": f"ing.clawstead.instance={stray}"}
        await wait_until(lambda: not docker_client.api.containers(all=True, filters=wanted), timeout=20)
        for container in kept:
            container.reload()
        assert (await rig.observed(desired.instance_id)) is not None
        assert docker_client.containers.get(f"claw-{desired.instance_id}").status == "running"
    finally:
        for container in kept:
            container.remove(force=True)
