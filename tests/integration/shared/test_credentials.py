"""A server that does not let a service in, and then does."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from clawstead_shared.messaging import Bus
from clawstead_shared.settings import BusSettings
from tests.support.nats_server import NatsServer
from tests.support.ports import free_port
from tests.support.secured_bus import SecuredBus
from tests.support.wait import wait_until

REFUSED = "NATS refuses these credentials"


@pytest.fixture
def secured() -> Iterator[SecuredBus]:
    with SecuredBus() as secured:
        yield secured


def stranger_config(secured: SecuredBus) -> str:
    """Return the configuration of a server that knows other keys."""
    text = secured.server.config
    with SecuredBus() as elsewhere:
        for user, key in secured.keys.items():
            text = text.replace(key, elsewhere.keys[user])
    return text


async def test_who_is_refused_says_so_and_is_let_in_without_a_restart(secured: SecuredBus) -> None:
    problems: list[str] = []
    right, wrong = secured.server.config, stranger_config(secured)
    secured.server.config = wrong
    secured.server.start()
    bus = secured.bus("health")
    connecting = asyncio.create_task(bus.connect(problems.append))
    await wait_until(lambda: REFUSED in problems, what="refused")
    secured.server.stop()
    await wait_until(lambda: problems[-1] == "NATS is not reachable", what="away")
    secured.server.config = right
    secured.server.start()
    await asyncio.wait_for(connecting, 10)
    secured.server.stop()
    secured.server.config = wrong
    secured.server.start()
    await wait_until(lambda: bus.problem == REFUSED, what="refused again")
    assert not bus.connected
    secured.server.stop()
    secured.server.config = right
    secured.server.start()
    await wait_until(lambda: bus.connected, what="let in again")
    await bus.close()


def test_a_seed_that_cannot_be_used_ends_the_service_with_one_line(tmp_path: Path) -> None:
    seed = tmp_path / "health.nk"
    seed.write_text("nonsense")
    seed.chmod(0o600)
    program = Path(sys.executable).with_name("clawstead-health")
    environment = {
        "CLAWSTEAD_DATA_DIR": str(tmp_path),
        "CLAWSTEAD_NATS_SEED_FILE": str(seed),
        "CLAWSTEAD_HEALTH_PORT": str(free_port()),
    }
    ended = subprocess.run([program], env=environment, capture_output=True, text=True, timeout=20, check=False)
    (line,) = (ended.stdout + ended.stderr).splitlines()
    assert json.loads(line)["error"] == f"CLAWSTEAD_NATS_SEED_FILE: {seed} holds no seed of a NATS user (SU...)"
    assert ended.returncode == 2


async def test_a_key_is_no_hindrance_on_a_server_that_asks_for_none(
    secured: SecuredBus, bus: Bus, nats_server: NatsServer
) -> None:
    settings = BusSettings(nats_url=nats_server.url, nats_seed_file=secured.seed_file("health"))
    other = Bus("health", settings)
    await other.connect()
    await other.require_streams()
    await other.close()
