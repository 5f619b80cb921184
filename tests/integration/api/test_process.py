"""``clawstead-api`` as a process: killed, stopped, started without its bus, and its commands."""

import asyncio
import base64
import json
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from nacl.public import PrivateKey

from clawstead_shared.messaging import Bus
from clawstead_shared.streams import KEYS_BUCKET, SEALING_KEY, STATE_STREAM, TICKET_KEY
from clawstead_shared.subjects import Topic
from tests.support.api import TOKEN
from tests.support.api_process import ApiProcess
from tests.support.nats_server import NatsServer
from tests.support.sse import messages
from tests.support.wait import wait_until

BODY = {"name": "claw", "plan": "pro"}


@pytest.fixture
def process(tmp_path: Path, nats_server: NatsServer) -> Iterator[ApiProcess]:
    process = ApiProcess(tmp_path, nats_server.url)
    yield process
    if process.process:
        process.end(signal.SIGKILL)


@pytest.fixture
async def client(process: ApiProcess) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    base_url = f"http://127.0.0.1:{process.port}/api/v1"
    async with httpx.AsyncClient(base_url=base_url, headers=headers, timeout=10) as client:
        yield client


@pytest.fixture
async def provisioner(bus: Bus) -> PrivateKey:
    """The key that a provisioner has published."""
    key = PrivateKey.generate()
    await (await bus.bucket(KEYS_BUCKET)).put(SEALING_KEY, base64.b64encode(bytes(key.public_key)))
    return key


async def generations(bus: Bus, instance_id: str) -> int:
    newest = await bus.newest(Topic.DESIRED, instance_id)
    return newest.data.generation if newest else 0  # type: ignore[attr-defined]


@pytest.mark.usefixtures("provisioner")
async def test_what_was_accepted_survives_a_kill_while_the_bus_is_away(
    process: ApiProcess, client: httpx.AsyncClient, bus: Bus, nats_server: NatsServer
) -> None:
    process.start()
    await wait_until(process.ready, timeout=30)
    steady = (await client.post("/instances", json=BODY)).json()["id"]
    await wait_until(lambda: generations(bus, steady))
    nats_server.kill()
    response = await client.post("/instances", json=BODY, headers={"Idempotency-Key": "k"})
    assert response.status_code == 202
    assert (await client.post(f"/instances/{steady}/stop")).status_code == 202
    process.end(signal.SIGKILL)

    process.start()
    await wait_until(process.live, timeout=30)
    assert not await process.ready()
    again = await client.post("/instances", json=BODY, headers={"Idempotency-Key": "k"})
    assert again.json() == response.json(), "a start without the bus serves what is known"
    third = await client.post("/instances", json=BODY)
    assert third.status_code == 202

    nats_server.start()
    await wait_until(process.ready, timeout=30)
    for instance_id in (response.json()["id"], third.json()["id"]):
        await wait_until(lambda instance_id=instance_id: generations(bus, instance_id), timeout=15)  # type: ignore[misc]

    async def stopped() -> bool:
        return await generations(bus, steady) == 2

    await wait_until(stopped)
    assert (await bus.jetstream.stream_info(STATE_STREAM)).state.messages == 4


@pytest.mark.usefixtures("provisioner")
async def test_the_trace_of_a_client_reaches_the_event(
    process: ApiProcess, client: httpx.AsyncClient, bus: Bus
) -> None:
    process.start()
    await wait_until(process.ready, timeout=30)
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {
        "traceparent": f"00-{trace_id}-00f067aa0ba902b7-01",
        "X-Request-ID": "from-the-edge",
        "X-Forwarded-For": "203.0.113.9",
    }
    instance_id = (await client.post("/instances", json=BODY, headers=headers)).json()["id"]
    await wait_until(lambda: generations(bus, instance_id))
    newest = await bus.newest(Topic.DESIRED, instance_id)
    assert newest is not None
    assert trace_id in str(newest.traceparent)
    log = (process.directory / "log").read_text()
    line = next(line for line in log.splitlines() if '"event": "request"' in line and '"method": "POST"' in line)
    said = json.loads(line)
    assert (said["trace_id"], said["request_id"], said["client"]) == (trace_id, "from-the-edge", "203.0.113.9")


@pytest.mark.usefixtures("provisioner")
async def test_an_open_stream_does_not_hold_up_a_stop(process: ApiProcess, client: httpx.AsyncClient, bus: Bus) -> None:
    process.start()
    await wait_until(process.ready, timeout=30)
    await client.post("/instances", json=BODY)
    async with client.stream("GET", "/events", headers={"Last-Event-ID": "0"}) as response:
        stream = messages(response)
        assert (await anext(stream)).event == "desired"
        ended = asyncio.create_task(asyncio.to_thread(process.end))
        async with asyncio.timeout(15):
            assert [message async for message in stream] == []
            assert await ended == 0
    bucket = await bus.bucket(KEYS_BUCKET)
    assert b"BEGIN PUBLIC KEY" in ((await bucket.get(TICKET_KEY)).value or b"")


def test_the_first_token_is_printed_once_and_stored_as_a_hash(process: ApiProcess) -> None:
    process.environment.pop("CLAWSTEAD_ADMIN_TOKEN")
    first = json.loads(process.run("admin-token", CLAWSTEAD_ADMIN_TOKEN="").stdout)
    assert first["created"] is True
    assert first["token"].startswith("claw_")
    assert len(first["token"]) == 5 + 64
    assert json.loads(process.run("admin-token").stdout) == {"created": False, "token": None}
    another = json.loads(process.run("admin-token", "--new").stdout)
    assert another["token"] != first["token"]
    content = b"".join(path.read_bytes() for path in (process.directory / "api").iterdir())
    assert first["token"].encode() not in content


async def test_serving_prints_the_token_that_it_made(process: ApiProcess) -> None:
    process.environment.pop("CLAWSTEAD_ADMIN_TOKEN")
    process.start()
    await wait_until(process.live, timeout=30)
    (line,) = [line for line in (process.directory / "log").read_text().splitlines() if "claw_" in line]
    token = line.rpartition(" ")[2]
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as client:
        assert (await client.get(f"http://127.0.0.1:{process.port}/api/v1/plans")).status_code == 200
    process.end()
    process.start()
    await wait_until(process.live, timeout=30)
    assert (process.directory / "log").read_text().count("claw_") == 1


@pytest.mark.parametrize(
    ("arguments", "environment", "named"),
    [
        ((), {"CLAWSTEAD_ADMIN_TOKEN": "short"}, "CLAWSTEAD_ADMIN_TOKEN"),
        (("migrate",), {"CLAWSTEAD_DATABASE_URL": "mysql://host/db"}, "CLAWSTEAD_DATABASE_URL"),
        ((), {"CLAWSTEAD_PLANS_FILE": "/nowhere/plans.toml"}, "/nowhere/plans.toml"),
        (("migrate",), {"CLAWSTEAD_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/x"}, "database"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(
    process: ApiProcess, arguments: tuple[str, ...], environment: dict[str, Any], named: str
) -> None:
    result = process.run(*arguments, **environment)
    assert result.returncode == 2
    assert named in result.stderr
    assert "Traceback" not in result.stderr
