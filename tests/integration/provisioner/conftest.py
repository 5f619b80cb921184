"""The real engine with the stand-in gateway, everything labelled with an installation of the test's own."""

import contextlib
import subprocess
from collections.abc import AsyncIterator, Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import docker
import pytest

from clawstead_provisioner.adapters.docker_engine import DockerEngine
from clawstead_provisioner.adapters.gateway_http import HttpGateway
from clawstead_provisioner.spec import Site
from clawstead_provisioner.storage import Storage
from clawstead_shared.ids import new_instance_id
from tests.support.engine_world import EngineWorld
from tests.support.factories import STANDIN_IMAGE
from tests.support.fake_bus import FakeBus
from tests.support.fake_engine import FakeEngine
from tests.support.provisioner_rig import FakeSecrets, Rig, provisioner
from tests.support.registry import Registry

BUILD_STANDIN = Path(__file__).parents[3] / "images" / "standin" / "build.sh"


@pytest.fixture(scope="session")
def standin() -> None:
    """The stand-in image, built if it is not there."""
    subprocess.run([BUILD_STANDIN], check=True, capture_output=True)


@pytest.fixture
def docker_client() -> Iterator[Any]:
    client = docker.from_env(timeout=60)
    yield client
    client.close()


@pytest.fixture
def installation(docker_client: Any) -> Iterator[str]:
    """A name that no other test has; what carries it is removed at the end."""
    name = f"it-{new_instance_id()[-12:]}"
    yield name
    mine = {"label": f"ing.clawstead.installation={name}"}
    for container in docker_client.containers.list(all=True, filters=mine):
        container.remove(force=True, v=True)
    for network in docker_client.networks.list(filters=mine):
        network.remove()


@pytest.fixture
def registry(docker_client: Any, standin: None) -> Iterator[Registry]:
    """An empty registry; what the engine pulled from it is removed at the end, so ask for it before containers."""
    with Registry(b"".join(docker_client.api.get_image(STANDIN_IMAGE))) as started:
        yield started
    for image in started.images:
        with contextlib.suppress(docker.errors.ImageNotFound):
            docker_client.api.remove_image(image, force=True)


@pytest.fixture
async def rig(tmp_path: Path, installation: str, standin: None) -> AsyncIterator[Rig]:
    """The rules on the real engine; only the bus and the secrets are fakes."""
    async with provisioner(
        tmp_path / "data",
        bus=FakeBus(),
        engine=DockerEngine(installation),
        gateway=HttpGateway("127.0.0.1"),
        secrets=FakeSecrets(),
        installation=installation,
        unresponsive_stop_grace_seconds=2,
    ) as assembled:
        yield assembled


@pytest.fixture(params=["fake", pytest.param("docker", marks=pytest.mark.docker)])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> EngineWorld:
    installation, engine = "fake", FakeEngine()
    if request.param == "docker":
        request.getfixturevalue("standin")
        installation = request.getfixturevalue("installation")
        engine = DockerEngine(installation)  # type: ignore[assignment]
    site = Site(installation, "127.0.0.1", IPv4Network("10.212.0.0/15"), 10000, tmp_path / "instances", 345)
    return EngineWorld(engine, site, Storage(tmp_path / "instances"))
