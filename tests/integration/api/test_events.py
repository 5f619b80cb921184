"""History and the live feed, over a real HTTP connection."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

import httpx
import pytest
import uvicorn

from clawstead_shared.events import Phase
from tests.support.api import TOKEN, Api
from tests.support.ports import free_port
from tests.support.sse import Message, messages
from tests.support.wait import wait_until

BODY = {"name": "claw", "plan": "pro"}


@pytest.fixture
async def remote(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    """A client that is connected over TCP."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(api.app, "127.0.0.1", port, log_config=None, lifespan="off"))
    server.capture_signals = _no_signals  # type: ignore[assignment, method-assign]
    serving = asyncio.create_task(server.serve())
    await wait_until(lambda: server.started)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}/api/v1", headers=headers, timeout=httpx.Timeout(10, read=30)
    ) as client:
        yield client
    await api.feed.close()
    server.should_exit = True
    await asyncio.wait_for(serving, 10)


def _no_signals() -> object:
    return nullcontext()


@asynccontextmanager
async def following(
    client: httpx.AsyncClient, path: str, last_id: int | None = None
) -> AsyncIterator[AsyncIterator[Message]]:
    headers = {} if last_id is None else {"Last-Event-ID": str(last_id)}
    async with client.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield messages(response)


async def take(stream: AsyncIterator[Message], number: int) -> list[Message]:
    async with asyncio.timeout(10):
        return [await anext(stream) for _ in range(number)]


async def create(client: httpx.AsyncClient) -> str:
    instance_id: str = (await client.post("/instances", json=BODY)).json()["id"]
    return instance_id


async def live(api: Api, instance_id: str) -> None:
    for phase in (Phase.PROVISIONING, Phase.STARTING, Phase.RUNNING):
        await api.observe(instance_id, phase)


async def test_an_instance_is_followed_from_its_first_event(api: Api, remote: httpx.AsyncClient) -> None:
    instance_id = await create(remote)
    await api.observe(instance_id, Phase.PROVISIONING)
    async with following(remote, f"/instances/{instance_id}/events/stream") as stream:
        early = await take(stream, 2)
        await api.observe(instance_id, Phase.RUNNING)
        late = await take(stream, 1)
    seen = early + late
    assert [message.event for message in seen] == ["desired", "observed", "observed"]
    assert [message.data.get("phase") for message in seen] == [None, "provisioning", "running"]
    assert [message.id for message in seen] == [1, 2, 3]
    assert all(message.data["sequence"] == message.id for message in seen)
    assert "phase" not in seen[0].data
    for secret in ("container_id", "host", "port", "spec"):
        assert secret not in seen[2].data


async def test_a_cut_stream_resumes_without_gap_or_duplicate(api: Api, remote: httpx.AsyncClient) -> None:
    instance_id = await create(remote)
    await live(api, instance_id)
    path = f"/instances/{instance_id}/events/stream"
    async with following(remote, path) as stream:
        first = await take(stream, 2)
    await api.observe(instance_id, Phase.STOPPED)
    async with following(remote, path, last_id=first[-1].id) as stream:
        rest = await take(stream, 3)
    assert [message.id for message in first + rest] == [1, 2, 3, 4, 5]


async def test_the_fleet_is_followed_from_now_on(api: Api, remote: httpx.AsyncClient) -> None:
    await live(api, await create(remote))
    async with following(remote, "/events") as stream:
        second = await create(remote)
        await api.settle()
        (message,) = await take(stream, 1)
        assert (message.data["instance_id"], message.data["type"]) == (second, "clawstead.instance.created")
    async with following(remote, "/events", last_id=2) as stream:
        assert [message.id for message in await take(stream, 3)] == [3, 4, 5]


async def test_another_owners_events_are_not_shown(api: Api, remote: httpx.AsyncClient) -> None:
    stranger = "01arz3ndektsv4rrffq69g5fav"
    async with following(remote, "/events") as stream:
        await api.observe(stranger, Phase.RUNNING)
        await create(remote)
        await api.settle()
        (message,) = await take(stream, 1)
    assert message.data["instance_id"] != stranger


async def test_the_stream_of_a_removed_instance_ends(api: Api, remote: httpx.AsyncClient) -> None:
    instance_id = await create(remote)
    async with following(remote, f"/instances/{instance_id}/events/stream") as stream:
        await remote.delete(f"/instances/{instance_id}")
        await api.observe(instance_id, Phase.REMOVED, generation=2, host=None, port=None)
        async with asyncio.timeout(10):
            seen = [message async for message in stream]
    assert seen[-1].data["phase"] == "removed"
    assert (await remote.get(f"/instances/{instance_id}/events/stream")).status_code == 404


async def test_streams_end_when_the_feed_closes(api: Api, remote: httpx.AsyncClient) -> None:
    async with following(remote, "/events") as stream:
        await api.feed.close()
        async with asyncio.timeout(5):
            assert [message async for message in stream] == []
    assert (await remote.get("/events")).status_code == 503


async def test_a_restarted_api_resumes_from_the_database(api: Api, remote: httpx.AsyncClient) -> None:
    instance_id = await create(remote)
    await live(api, instance_id)
    api.feed._ring.clear()
    api.feed.open_at(4)
    async with following(remote, "/events", last_id=1) as stream:
        assert [message.id for message in await take(stream, 3)] == [2, 3, 4]
        await api.observe(instance_id, Phase.STOPPED)
        assert [message.id for message in await take(stream, 1)] == [5]


async def test_history_is_paged_newest_first(api: Api, client: httpx.AsyncClient) -> None:
    instance_id = await create(client)
    await live(api, instance_id)
    seen: list[int] = []
    before = None
    while True:
        params = {"limit": 3, **({"before": before} if before else {})}
        page = (await client.get(f"/instances/{instance_id}/events", params=params)).json()
        seen += [item["sequence"] for item in page["items"]]
        before = page.get("next_before")
        if before is None:
            break
    assert seen == [4, 3, 2, 1]
