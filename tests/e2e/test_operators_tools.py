"""The operator's commands on a whole platform: a test deployment, the drift audit with one thing broken at a time."""

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import docker
import psutil
import pytest
from nats.js.api import ConsumerConfig

from clawstead_cli.adapters.jetstream import connected
from clawstead_cli.deadline import Deadline
from clawstead_cli.settings import BusAddress
from clawstead_shared.streams import HEALTH, STATE_STREAM
from clawstead_shared.topology import consumer_config
from tests.e2e.operations import Operations
from tests.e2e.platform import CLAWSTEAD, Platform
from tests.support.factories import STANDIN_IMAGE
from tests.support.ports import free_port
from tests.support.wait import wait_until

pytestmark = pytest.mark.docker

LASTING = {"notices", "dead letters", "lag", "disk", "clock"}
"""What other tests, or the machine, may have left to find."""


def findings(platform: Platform) -> set[tuple[str, str]]:
    """Return the check and the object of everything that the audit finds now."""
    result = platform.run("doctor", "--json")
    assert result.returncode in {0, 1}, result.stderr
    found = json.loads(result.stdout)["findings"]
    assert result.returncode == (1 if [each for each in found if each["severity"] != "note"] else 0)
    return {(each["check"], each["about"]) for each in found if each["check"] not in LASTING}


def answer(platform: Platform, *arguments: str) -> Any:
    result = platform.run(*arguments, "--json")
    assert result.returncode == 0, result.stdout + result.stderr
    return json.loads(result.stdout)


async def test_a_test_deployment_is_timed_checked_and_gone(platform: Platform) -> None:
    shown = answer(platform, "test-deploy", "--plan", "free")
    phases = [each["phase"] for each in shown["phases"]]
    assert phases[0] == "accepted"
    assert set(phases[1:]) == {"provisioning", "starting", "running", "route active", "first 200 through the edge"}
    assert (shown["valid"], shown["errors"], shown["gone"]) == (True, [], True)
    assert 0 < shown["total_seconds"] < 60
    assert shown["instance"] not in platform.run("instances", "list").stdout


async def test_a_test_deployment_that_is_interrupted_cleans_up_first(platform: Platform) -> None:
    process = await asyncio.create_subprocess_exec(
        CLAWSTEAD, "test-deploy", "--plan", "free", env=platform.environment, stdout=-1, stderr=-1
    )
    assert process.stderr
    accepted = (await asyncio.wait_for(process.stderr.readline(), 30)).decode()
    process.send_signal(signal.SIGINT)
    _, said = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 130
    assert "interrupted; cleaning up first" in said.decode()
    name = accepted.split()[2]
    assert name.startswith("test-deploy-")
    assert name not in platform.run("instances", "list").stdout


async def test_an_operators_day(platform: Platform, operations: Operations) -> None:
    instance_id = answer(platform, "instances", "create", "--name", "day", "--plan", "free")["id"]
    operations.adopt(instance_id)
    await wait_until(lambda: platform.run("validate", "day").returncode == 0, timeout=20, what="day is valid")
    assert answer(platform, "check-health", "day")["healthy"]
    assert "standin" in platform.run("logs", "day", "--lines", "5").stdout
    assert answer(platform, "restart", "day")["phase"] == "running"
    records = answer(platform, "audit", "--instance", "day")["records"]
    assert [each["type"].rpartition(".")[2] for each in records] == ["restart_requested", "created"]
    assert answer(platform, "audit", "verify")["ok"]
    status = answer(platform, "status")
    assert status["unread"] == {}
    assert status["certificate"]["served"]
    certificate = answer(platform, "certs", "status")
    assert (certificate["good"], certificate["source"]) == (True, "local")
    assert status["instances"]["by_phase"]["running"] >= 1


@contextmanager
def stranger(platform: Platform, instance_id: str) -> Iterator[str]:
    """Run a container that carries the installation's label, and is open to everybody."""
    client = docker.from_env()
    labels = {
        "ing.clawstead.installation": platform.environment["CLAWSTEAD_INSTALLATION"],
        "ing.clawstead.instance": instance_id,
    }
    made = client.containers.run(
        STANDIN_IMAGE, ["sleep", "60"], detach=True, labels=labels, ports={"18789/tcp": ("0.0.0.0", free_port())}
    )
    try:
        yield str(made.name)
    finally:
        made.remove(force=True)
        client.close()


@contextmanager
def paused(platform: Platform, service: str) -> Iterator[None]:
    """Keep a service from putting right what is broken."""
    process = psutil.Process(platform.pid(service))
    process.suspend()
    try:
        yield
    finally:
        process.resume()


async def alter(platform: Platform, config: ConsumerConfig) -> None:
    bus = BusAddress(platform.nats_url, platform.data_dir / "nats" / "seeds" / "operator.nk")
    async with connected(bus, Deadline.after(5)) as jetstream:
        await jetstream.add_consumer(STATE_STREAM, config)


async def test_the_drift_audit_finds_each_thing_that_is_broken(platform: Platform, operations: Operations) -> None:
    instance_id = await operations.create(name="drift", plan="free")
    await operations.confirmed(instance_id, timeout=60)
    container = operations.engine.container(instance_id)
    memory = container.attrs["HostConfig"]["Memory"]
    seed = platform.data_dir / "nats" / "seeds" / "api.nk"
    workspace = platform.data_dir / "instances" / instance_id / "workspace"
    assert findings(platform) == set()

    # All at once, because each is found under a name of its own, and an audit takes a second.
    container.update(mem_limit=memory // 2, memswap_limit=memory // 2)
    seed.chmod(0o644)
    workspace.chmod(0o755)
    with stranger(platform, instance_id) as name, paused(platform, "keeper"):
        await alter(platform, consumer_config(HEALTH).evolve(max_ack_pending=1))
        assert findings(platform) == {
            ("limits", container.name),
            ("secret files", "nats/seeds/api.nk"),
            ("instance files", f"instances/{instance_id}/workspace"),
            ("containers", name),
            ("ports", name),
            ("bus", "consumer health"),
        }
        await alter(platform, consumer_config(HEALTH))
    workspace.chmod(0o700)
    seed.chmod(0o600)
    assert platform.run("restart", instance_id).returncode == 0, "which gives the container its memory back"
    assert findings(platform) == set()
