"""``clawstead update`` against a real API; a fake provisioner says what becomes of the updates."""

import asyncio
import json
import os
import pty
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from clawstead_shared.messaging import Bus
from tests.integration.cli.installation import CLAWSTEAD, Installation
from tests.support.api import TOKEN
from tests.support.api_process import ApiProcess
from tests.support.fake_provisioner import FakeProvisioner
from tests.support.nats_server import NatsServer
from tests.support.wait import wait_until


@dataclass
class Ended:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str


class Scene:
    """A served API, a provisioner, and the command line."""

    def __init__(self, api: ApiProcess, provisioner: FakeProvisioner, client: httpx.AsyncClient) -> None:
        self.api = api
        self.provisioner = provisioner
        self.client = client

    async def create(self, *names: str) -> dict[str, str]:
        """Create running instances, and return their ids."""
        ids = {}
        for name in names:
            ids[name] = (await self.client.post("/instances", json={"name": name, "plan": "free"})).json()["id"]
        for instance_id in ids.values():
            await wait_until(lambda each=instance_id: self._is(each, "running"), timeout=30)  # type: ignore[misc]
        return ids

    async def stop(self, instance_id: str) -> None:
        await self.client.post(f"/instances/{instance_id}/stop")
        await wait_until(lambda: self._is(instance_id, "stopped"), timeout=30)

    async def _is(self, instance_id: str, phase: str) -> bool:
        return bool((await self.client.get(f"/instances/{instance_id}")).json()["phase"] == phase)

    async def start(self, *arguments: str, stdin: int = asyncio.subprocess.DEVNULL) -> asyncio.subprocess.Process:
        """Start ``clawstead update``."""
        environment = {**self.api.environment, "CLAWSTEAD_HTTPS_PORT": "8443", "COLUMNS": "200"}
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            CLAWSTEAD, "update", *arguments, env=environment, stdin=stdin, stdout=pipe, stderr=pipe
        )

    async def update(self, *arguments: str) -> Ended:
        """Run ``clawstead update`` to its end."""
        return await ended(await self.start(*arguments))

    async def outcomes(self, *arguments: str) -> tuple[int, dict[str, str]]:
        """Run ``clawstead update --json``, and return its exit code and what became of each instance."""
        result = await self.update("--json", *arguments)
        rows = json.loads(result.out)["instances"]
        return result.code, {row["name"]: row["outcome"] for row in rows}


async def ended(process: asyncio.subprocess.Process) -> Ended:
    out, err = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


@pytest.fixture
async def scene(tmp_path: Path, nats_server: NatsServer, bus: Bus) -> AsyncIterator[Scene]:
    provisioner = FakeProvisioner(bus)
    await provisioner.publish_key()
    working = asyncio.create_task(provisioner.run())
    api = ApiProcess(tmp_path, nats_server.url)
    api.start()
    try:
        await wait_until(api.ready, timeout=90)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{api.port}/api/v1", headers=headers) as client:
            yield Scene(api, provisioner, client)
        assert not working.done()
    finally:
        working.cancel()
        api.end(signal.SIGKILL)


async def test_all_are_updated_one_first_and_stopped_ones_last(scene: Scene) -> None:
    ids = await scene.create("a", "b", "c", "d")
    await scene.stop(ids["a"])
    result = await scene.update("--all", "--batch", "2", "--image", "claw:2")
    assert result.code == 0, result.err
    assert scene.provisioner.updated == ["b", "c", "d"]
    lines = result.err.splitlines()
    assert lines[0] == "updating b, 3 to go"
    assert lines.index("✓ b updated") < lines.index("updating c, d, 1 to go")
    assert "✓ a at next start: it is stopped" in lines
    assert "claw:2" in result.out
    shown = (await scene.client.get(f"/instances/{ids['b']}")).json()
    assert shown["running_image"] == {"reference": "claw:2", "revision": 1, "digest": "sha256:claw:2"}


async def test_the_first_failure_ends_it_and_running_it_again_goes_on(scene: Scene) -> None:
    await scene.create("a", "b", "c", "d")
    scene.provisioner.bad = {"b"}
    code, outcomes = await scene.outcomes("--all", "--batch", "1")
    assert code == 1
    assert outcomes == {"a": "updated", "b": "rolled back", "c": "not tried", "d": "not tried"}
    assert scene.provisioner.updated == ["a", "b"]
    scene.provisioner.bad = set()
    code, outcomes = await scene.outcomes("--all", "--force")
    assert code == 0
    assert set(outcomes.values()) == {"updated"}


async def test_one_instance_is_updated_and_says_why_it_was_not(scene: Scene) -> None:
    ids = await scene.create("a", "b")
    assert await scene.outcomes(ids["a"]) == (0, {"a": "updated"})
    assert scene.provisioner.updated == ["a"]
    scene.provisioner.bad = {"b"}
    result = await scene.update(ids["b"])
    assert result.code == 1
    assert "exit code 78" in result.err
    assert "rolled back" in result.out


async def test_one_that_nobody_looks_after_is_given_up_in_time(scene: Scene) -> None:
    await scene.create("a")
    scene.provisioner.silent = {"a"}
    assert await scene.outcomes("--all", "--timeout", "2") == (1, {"a": "not in time"})


async def test_an_api_that_is_killed_meanwhile_is_waited_for(scene: Scene) -> None:
    await scene.create("a")
    scene.provisioner.silent = {"a"}
    process = await scene.start("--all", "--json")
    await wait_until(lambda: _asked(scene), timeout=30)
    scene.api.end(signal.SIGKILL)
    scene.provisioner.silent = set()
    scene.provisioner.forget()
    scene.api.start()
    result = await ended(process)
    assert result.code == 0, result.err
    assert scene.provisioner.updated == ["a"]


async def _asked(scene: Scene) -> bool:
    items = (await scene.client.get("/instances")).json()["items"]
    return all(item["image_revision"] == 1 and item["observed_generation"] == 1 for item in items)


async def test_an_interrupted_run_says_what_goes_on(scene: Scene) -> None:
    await scene.create("a", "b")
    scene.provisioner.silent = {"a"}
    process = await scene.start("--all", "--json")
    await wait_until(lambda: _first_asked(scene), timeout=30)
    process.send_signal(signal.SIGINT)
    result = await ended(process)
    assert result.code == 130
    rows: list[dict[str, Any]] = json.loads(result.out)["instances"]
    assert [row["outcome"] for row in rows] == ["not confirmed", "not tried"]


async def _first_asked(scene: Scene) -> bool:
    items = (await scene.client.get("/instances")).json()["items"]
    return bool(items[-1]["image_revision"] == 1)


async def test_updating_all_is_asked_about_on_a_terminal(scene: Scene) -> None:
    await scene.create("a")
    for answer, code in [(b"n\n", 1), (b"y\n", 0)]:
        ours, theirs = pty.openpty()
        process = await scene.start("--all", stdin=theirs)
        os.write(ours, answer)
        result = await ended(process)
        os.close(ours)
        os.close(theirs)
        assert result.code == code
        assert "Update 1 instances?" in result.err
        assert scene.provisioner.updated == ["a"][: 1 - code]


async def test_what_the_api_refuses_is_said_with_an_exit_code(scene: Scene) -> None:
    await scene.create("a")
    for arguments, code, said in [
        (("--all", "--token", "claw_wrong"), 2, "token"),
        (("01kb3v6s8nq3k3h2t3m4n5p6q7",), 1, "no instance"),
        (("--all", "--image", "Not An Image"), 1, "image"),
    ]:
        result = await scene.update(*arguments)
        assert (result.code, said in result.err) == (code, True), result.err
        assert "Traceback" not in result.err
    assert scene.provisioner.updated == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "--all"),
        (("x", "--all"), 2, "--all"),
        (("--all", "--batch", "0"), 2, "--batch"),
        (("--all",), 2, "CLAWSTEAD_ADMIN_TOKEN"),
        (("--all", "--token", "t", "--url", "claw.example.com"), 2, "address"),
        (("--all", "--token", "t", "--url", "http://127.0.0.1:1"), 4, "does not answer"),
    ],
)
def test_what_cannot_work_is_said_with_an_exit_code(
    installation: Installation, arguments: tuple[str, ...], code: int, said: str
) -> None:
    result = installation.run("update", *arguments, CLAWSTEAD_ADMIN_TOKEN="", COLUMNS="200")
    assert (result.returncode, said in result.stderr) == (code, True), result.stderr
    assert "Traceback" not in result.stderr


async def test_no_instances_are_updated_at_once(scene: Scene) -> None:
    assert await scene.outcomes("--all") == (0, {})
