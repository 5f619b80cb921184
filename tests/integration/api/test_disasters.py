"""``clawstead-api`` as a process on a real bus: its database is lost, then the bus loses everything while it runs."""

import base64
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import nats.js.errors
import pytest
from nacl.public import PrivateKey

from clawstead_shared import topology
from clawstead_shared.control import RebuildReport, ResyncReport, Verb
from clawstead_shared.errors import TransientError
from clawstead_shared.events import EventType, Phase
from clawstead_shared.messaging import Bus
from clawstead_shared.messaging.control import ask
from clawstead_shared.streams import BUCKETS, KEYS_BUCKET, SEALING_KEY, SECRETS_BUCKET, STATE_STREAM, TICKET_KEY
from clawstead_shared.subjects import Topic
from tests.support.api import TOKEN
from tests.support.api_process import ApiProcess
from tests.support.factories import make_observed, observed_event
from tests.support.nats_server import NatsServer
from tests.support.wait import wait_until

BODY = {"name": "claw", "plan": "pro", "subdomain": "mine"}


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


async def declare_keys(bus: Bus) -> None:
    key = base64.b64encode(bytes(PrivateKey.generate().public_key))
    await (await bus.bucket(KEYS_BUCKET)).put(SEALING_KEY, key)


async def value(bus: Bus, bucket: str, key: str) -> bytes | None:
    try:
        return (await (await bus.bucket(bucket)).get(key)).value
    except nats.js.errors.KeyNotFoundError:
        return None


async def stands(client: httpx.AsyncClient, instance_id: str) -> dict[str, Any]:
    view: dict[str, Any] = (await client.get(f"/instances/{instance_id}")).json()
    view.pop("created_at")
    return view


async def rebuilt(bus: Bus) -> RebuildReport:
    return await ask(bus.broker.connection, "api", Verb.REBUILD, None, RebuildReport, timeout=30)


async def test_the_database_then_the_bus_is_lost(process: ApiProcess, client: httpx.AsyncClient, bus: Bus) -> None:
    await declare_keys(bus)
    process.start()
    await wait_until(process.ready, timeout=60)
    instance_id = (await client.post("/instances", json=BODY)).json()["id"]

    async def phase(name: str) -> bool:
        answer = await client.get(f"/instances/{instance_id}")
        return bool(answer.status_code == 200 and answer.json()["phase"] == name)

    async def told() -> bool:
        return await bus.newest(Topic.DESIRED, instance_id) is not None

    await wait_until(told)
    await bus.publish(observed_event(make_observed(instance_id, phase=Phase.RUNNING)))
    await wait_until(lambda: phase("running"))
    before = await stands(client, instance_id)
    history = (await client.get(f"/instances/{instance_id}/events")).json()

    # The database is lost.
    process.end(signal.SIGKILL)
    for file in (process.directory / "api").glob("api.db*"):
        file.unlink()
    process.start()
    await wait_until(process.ready, timeout=60)
    assert await stands(client, instance_id) == before
    assert (await client.get(f"/instances/{instance_id}/events")).json() == history
    report = await rebuilt(bus)
    assert (report.before == report.after, report.entries) == (True, 3)
    verdict = (await client.get("/audit/verify")).json()
    assert (verdict["ok"], verdict["in_log"], verdict["log_checked"]) == (True, 1, True)

    # The bus loses everything while the API runs; someone declares it anew.
    secrets, ticket_key = await value(bus, SECRETS_BUCKET, instance_id), await value(bus, KEYS_BUCKET, TICKET_KEY)
    for stream in (STATE_STREAM, *(f"KV_{bucket.name}" for bucket in BUCKETS)):
        await bus.jetstream.delete_stream(stream)
    assert (await client.get(f"/instances/{instance_id}")).status_code == 200, "what is known can be read"
    await topology.apply(bus.jetstream)

    async def told_again() -> bool:
        try:
            newest = await bus.newest(Topic.DESIRED, instance_id)
        except TransientError:
            return False
        return newest is not None and newest.type is EventType.RESYNCED

    async def secrets_again() -> bool:
        return await value(bus, SECRETS_BUCKET, instance_id) == secrets

    async def key_again() -> bool:
        return await value(bus, KEYS_BUCKET, TICKET_KEY) == ticket_key

    await wait_until(told_again, timeout=15)
    await wait_until(secrets_again, timeout=15)
    await wait_until(key_again, timeout=20)
    # Relay and consumer go on, and numbers rise.
    await client.post(f"/instances/{instance_id}/stop")
    await bus.publish(observed_event(make_observed(instance_id, generation=2, phase=Phase.STOPPED)))
    await wait_until(lambda: phase("stopped"), timeout=15)
    events = (await client.get(f"/instances/{instance_id}/events")).json()["items"]
    kinds = [event["type"].rpartition(".")[2] for event in events]
    assert (set(kinds[:3]), kinds[3:]) == ({"stopped", "stop_requested", "resynced"}, ["ready", "created"])
    assert [event["sequence"] for event in events] == [5, 4, 3, 2, 1]
    resync = await ask(bus.broker.connection, "api", Verb.RESYNC, None, ResyncReport, timeout=30)
    assert (resync.republished, resync.already_there) == (0, 1)
    assert (await rebuilt(bus)).before == (await rebuilt(bus)).after
