"""Admission: what does not fit is refused, and requests that come at once cannot overshoot together."""

import asyncio

import httpx
import pytest

from clawstead_shared.events import Phase
from clawstead_shared.hosts import HostBudget
from tests.support.api import Api

GIB = 1024**3
PRO = {"name": "claw", "plan": "pro"}
"""2 GiB and 2 CPUs."""


def host(memory_gib: float = 1000, cpus: float = 1000, instances: int = 1000) -> HostBudget:
    return HostBudget(memory_bytes=int(memory_gib * GIB), cpus=cpus, instances=instances)


def refused(response: httpx.Response, lacking: str) -> bool:
    if response.status_code != 429:
        return False
    assert response.json()["type"] == "urn:clawstead:problem:host-full"
    assert int(response.headers["Retry-After"]) > 0
    return lacking in response.json()["detail"]


async def created(client: httpx.AsyncClient) -> str:
    response = await client.post("/instances", json=PRO)
    assert response.status_code == 202, response.text
    instance_id: str = response.json()["id"]
    return instance_id


@pytest.mark.parametrize(
    ("budget", "lacking"), [(host(memory_gib=5), "memory"), (host(cpus=5), "CPU"), (host(instances=2), "instances")]
)
async def test_a_full_host_refuses_another_and_takes_one_when_there_is_room(
    api: Api, client: httpx.AsyncClient, budget: HostBudget, lacking: str
) -> None:
    api.buckets.hosts = [budget]
    first, _ = await created(client), await created(client)
    assert refused(await client.post("/instances", json=PRO), lacking)
    assert len((await client.get("/instances")).json()["items"]) == 2
    await client.delete(f"/instances/{first}")
    await api.observe(first, Phase.REMOVED, generation=2, host=None, port=None)
    await created(client)


async def test_requests_at_once_cannot_overshoot(api: Api, client: httpx.AsyncClient) -> None:
    api.buckets.hosts = [host(memory_gib=4), host(memory_gib=2)]
    answers = await asyncio.gather(*(client.post("/instances", json=PRO) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [202] * 3 + [429] * 7


async def test_stopping_makes_room_and_starting_needs_it(api: Api, client: httpx.AsyncClient) -> None:
    api.buckets.hosts = [host(memory_gib=3)]
    first = await created(client)
    await client.post(f"/instances/{first}/stop")
    second = await created(client)
    assert refused(await client.post(f"/instances/{first}/start"), "memory")
    assert (await client.get(f"/instances/{first}")).json()["desired_state"] == "stopped"
    assert (await client.post(f"/instances/{second}/restart")).status_code == 202
    assert (await client.post(f"/instances/{second}/start")).status_code == 202, "it runs already"
    await client.post(f"/instances/{second}/stop")
    answers = await asyncio.gather(*(client.post(f"/instances/{each}/start") for each in (first, second)))
    assert sorted(answer.status_code for answer in answers) == [202, 429]


async def test_only_a_plan_that_grows_needs_room(api: Api, client: httpx.AsyncClient) -> None:
    api.buckets.hosts = [host(memory_gib=5)]
    first, second = await created(client), await created(client)
    assert refused(await client.patch(f"/instances/{first}", json={"plan": "enterprise"}), "memory")
    assert (await client.get(f"/instances/{first}")).json()["plan"] == "pro"
    assert (await client.patch(f"/instances/{first}", json={"plan": "free"})).status_code == 202
    assert (await client.patch(f"/instances/{first}", json={"name": "renamed", "plan": "free"})).status_code == 202
    await client.post(f"/instances/{second}/stop")
    assert (await client.patch(f"/instances/{second}", json={"plan": "enterprise"})).status_code == 202
    assert refused(await client.post(f"/instances/{second}/start"), "memory"), "it needs the room when it runs"


async def test_a_request_repeated_with_its_key_gets_its_answer_on_a_full_host(
    api: Api, client: httpx.AsyncClient
) -> None:
    api.buckets.hosts = [host(memory_gib=3)]
    headers = {"Idempotency-Key": "c-1"}
    answers = [await client.post("/instances", json=PRO, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    again = {"Idempotency-Key": "c-2"}
    assert refused(await client.post("/instances", json=PRO, headers=again), "memory")
    await client.post(f"/instances/{answers[0].json()['id']}/stop")
    assert (await client.post("/instances", json=PRO, headers=again)).status_code == 202, "a refusal is not an answer"


async def test_where_no_host_was_ever_heard_of_everything_is_admitted(api: Api, client: httpx.AsyncClient) -> None:
    await created(client)
    api.buckets.available = False
    await created(client)
