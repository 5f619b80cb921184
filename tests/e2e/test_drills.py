"""The disasters of docs/runbooks/, each dealt and repaired by the script that operators have for it."""

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import require_image
from tests.e2e.engine import Engine
from tests.e2e.platform import Platform
from tests.support.factories import STANDIN_IMAGE

DRILLS = Path(__file__).parents[2] / "ops" / "drills"
SCRIPTS = ("api-database-lost", "nats-store-lost", "containers-lost", "edge-files-lost")


@pytest.fixture(scope="module")
def stricken(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[Platform]:
    """A platform with two instances that run and one that is stopped."""
    require_image(STANDIN_IMAGE)
    installation = f"drill-{uuid.uuid4().hex[:12]}"
    platform = Platform(tmp_path_factory.mktemp("drills"), image=STANDIN_IMAGE, CLAWSTEAD_INSTALLATION=installation)
    try:
        platform.up()
        for name in ("one", "two", "resting"):
            ordered(platform, "create", "--name", name, "--plan", "pro")
        ordered(platform, "stop", "resting")
        yield platform
    finally:
        platform.down()
        engine.remove_leftovers(installation)


@pytest.fixture
def drilled(stricken: Platform) -> Platform:
    """The platform as every drill that passes leaves it, whatever one that did not has left."""
    stricken.up()
    ordered(stricken, "stop", "resting")
    return stricken


def ordered(platform: Platform, *arguments: str) -> None:
    result = platform.run("instances", *arguments)
    assert result.returncode == 0, result.stdout + result.stderr


def drill(platform: Platform, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(DRILLS / f"{script}.sh"), *arguments]
    return subprocess.run(command, env=platform.environment, capture_output=True, text=True, timeout=280, check=False)


@pytest.mark.parametrize("script", SCRIPTS)
def test_nothing_is_damaged_without_consent(drilled: Platform, script: str) -> None:
    pids = [drilled.pid(service) for service in ("api", "nats")]
    result = drill(drilled, script)
    assert (result.returncode, result.stdout) == (2, "")
    assert "--yes" in result.stderr
    assert [drilled.pid(service) for service in ("api", "nats")] == pids
    assert not (drilled.data_dir / "drills").exists()


@pytest.mark.parametrize("script", SCRIPTS)
def test_what_was_lost_comes_back(drilled: Platform, script: str) -> None:
    result = drill(drilled, script, "--yes")
    print(result.stdout)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "FINDING" not in result.stdout
    # The platform is not only as it was, it also works: what is asked for now is carried out.
    ordered(drilled, "start", "resting")
    ordered(drilled, "stop", "resting")
