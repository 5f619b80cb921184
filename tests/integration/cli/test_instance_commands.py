"""The commands on instances against a real API; a fake provisioner does at once what is ordered."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from clawstead_shared.messaging import Bus
from tests.integration.cli.installation import CLAWSTEAD
from tests.support.api_process import ApiProcess
from tests.support.fake_provisioner import FakeProvisioner
from tests.support.nats_server import NatsServer
from tests.support.wait import wait_until

SECRET = "123456:canary-bot-token"


class Terminal:
    """Runs ``clawstead`` against one API, with nobody at the keyboard."""

    def __init__(self, api: ApiProcess) -> None:
        self.environment = {**api.environment, "CLAWSTEAD_HTTPS_PORT": "8443", "COLUMNS": "200"}

    async def run(self, *arguments: str, **environment: str) -> tuple[int, str, str]:
        process = await asyncio.create_subprocess_exec(
            CLAWSTEAD,
            *arguments,
            env={**self.environment, **environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode is not None
        assert "Traceback" not in err.decode()
        return process.returncode, out.decode(), err.decode()

    async def answer(self, *arguments: str, **environment: str) -> Any:
        code, out, err = await self.run(*arguments, "--json", **environment)
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
async def terminal(tmp_path: Path, nats_server: NatsServer, bus: Bus) -> AsyncIterator[Terminal]:
    provisioner = FakeProvisioner(bus)
    await provisioner.publish_key()
    working = asyncio.create_task(provisioner.run())
    api = ApiProcess(tmp_path, nats_server.url)
    api.start()
    try:
        await wait_until(api.ready, timeout=90)
        yield Terminal(api)
        assert not working.done()
    finally:
        working.cancel()
        api.end(signal.SIGKILL)


async def test_an_instance_from_creation_to_deletion(terminal: Terminal) -> None:
    made = await terminal.answer("instances", "create", "--name", "shop", "--plan", "pro", "--subdomain", "bakery")
    assert (made["phase"], made["url"]) == ("running", "https://bakery.claw.localhost:8443")
    assert "gateway_token" not in made
    shown = await terminal.answer("instances", "show", "shop", "--show-token")
    assert shown["gateway_token"]
    assert (await terminal.answer("instances", "start", made["id"]))["changed"] is False
    stopped = await terminal.answer("instances", "stop", "shop")
    assert (stopped["phase"], stopped["changed"]) == ("stopped", True)
    assert (await terminal.answer("instances", "start", "shop"))["phase"] == "running"
    assert (await terminal.answer("restart", "shop"))["generation"] == stopped["generation"] + 2
    code, _, said = await terminal.run("instances", "delete", "shop")
    assert (code, "--yes" in said) == (2, True)
    assert (await terminal.answer("instances", "delete", "shop", "--yes"))["gone"] is True
    assert (await terminal.answer("instances", "list")) == {"instances": []}
    kinds = [each["type"].rpartition(".")[2] for each in (await terminal.answer("audit"))["records"]]
    assert kinds == ["delete_requested", "restart_requested", "start_requested", "stop_requested", "created"]
    assert (await terminal.answer("audit", "verify"))["ok"]


async def test_a_secret_comes_from_the_environment_or_a_file_and_what_cannot_work_is_said(
    terminal: Terminal, tmp_path: Path
) -> None:
    create = ("instances", "create", "--plan", "pro", "--channel", "telegram", "--no-wait", "--name")
    code, _, said = await terminal.run(*create, "none")
    assert (code, "CLAWSTEAD_BOT_TOKEN" in said) == (2, True)
    await terminal.answer(*create, "one", CLAWSTEAD_BOT_TOKEN=SECRET)
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\n")
    await terminal.answer(*create, "two", "--bot-token-file", str(file))
    code, out, said = await terminal.run(*create, "three", "--bot-token", SECRET)
    assert (code, "warning" in said) == (0, True)
    assert SECRET not in out + said
    assert len((await terminal.answer("instances", "list"))["instances"]) == 3
    await terminal.answer(*create, "one", CLAWSTEAD_BOT_TOKEN=SECRET)
    for arguments, code, said in [
        (("instances", "show", "one"), 2, "2 instances are called"),
        (("instances", "create", "--name", "x", "--plan", "huge"), 1, "plan"),
        (("logs", "nobody"), 1, "provisioner"),
    ]:
        result = await terminal.run(*arguments)
        assert (result[0], said in result[2]) == (code, True), result


async def test_a_test_deployment_that_fails_says_where_and_is_gone(terminal: Terminal) -> None:
    code, out, said = await terminal.run("test-deploy", "--plan", "free", "--timeout", "10", "--json")
    shown = json.loads(out)
    assert code == 1
    assert "does not answer with 200 in time" in said
    assert (shown["succeeded"], shown["gone"]) == (False, True)
    assert [each["phase"] for each in shown["phases"]] == ["accepted", "running"]
    assert (await terminal.answer("instances", "list")) == {"instances": []}
