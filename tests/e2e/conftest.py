"""One platform for the whole session, and a clean machine after it."""

import contextlib
import subprocess
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import docker
import docker.errors
import pytest

from tests.e2e.engine import Engine
from tests.e2e.operations import Operations
from tests.e2e.platform import Platform
from tests.e2e.spans import SpanCollector
from tests.support.factories import STANDIN_IMAGE
from tests.support.registry import Registry


def require_image(tag: str) -> None:
    """Fail with the way to build the image, rather than with what its absence breaks."""
    found = subprocess.run(["docker", "image", "inspect", tag], capture_output=True, check=False).returncode == 0
    assert found, f"image {tag} is missing: run make setup"


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def spans() -> Iterator[SpanCollector]:
    collector = SpanCollector()
    collector.start()
    yield collector
    collector.stop()


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory, engine: Engine, spans: SpanCollector) -> Iterator[Platform]:
    require_image(STANDIN_IMAGE)
    data_dir: Path = tmp_path_factory.mktemp("clawstead")
    # Of its own: two runs on one engine must not take each other's containers for their own.
    installation = f"e2e-{uuid.uuid4().hex[:12]}"
    platform = Platform(
        data_dir,
        image=STANDIN_IMAGE,
        CLAWSTEAD_INSTALLATION=installation,
        CLAWSTEAD_PROBATION_SECONDS="3",
        OTEL_EXPORTER_OTLP_ENDPOINT=spans.endpoint,
    )
    try:
        platform.up()
        yield platform
    finally:
        platform.down()
        engine.remove_leftovers(installation)


@pytest.fixture
async def operations(platform: Platform, engine: Engine) -> AsyncIterator[Operations]:
    """What a customer does, each operation waited for; deletes what the test made."""
    async with platform.client() as client:
        operations = Operations(platform, client, engine)
        yield operations
        await operations.delete_all()


@pytest.fixture(scope="session")
def registry() -> Iterator[Registry]:
    """A registry; what the engine pulled from it is removed once no test's instance is left."""
    client = docker.from_env(timeout=60)
    with Registry(b"".join(client.api.get_image(STANDIN_IMAGE))) as started:
        yield started
    for image in started.images:
        with contextlib.suppress(docker.errors.ImageNotFound):
            client.api.remove_image(image, force=True)
    client.close()
