"""``Idempotency-Key``: one effect and one answer, however often and however close together it is sent."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx

from clawstead_api import repository
from clawstead_api.idempotency import KEPT
from clawstead_api.tables import IdempotencyKey
from tests.support.api import OWNER, Api

BODY = {"name": "claw", "plan": "pro"}
KEY = {"Idempotency-Key": "a-key"}


async def count(client: httpx.AsyncClient) -> int:
    return len((await client.get("/instances")).json()["items"])


async def test_the_same_request_has_one_effect_and_one_answer(api: Api, client: httpx.AsyncClient) -> None:
    first = await client.post("/instances", json=BODY, headers=KEY)
    again = await client.post("/instances", json=dict(reversed(BODY.items())), headers=KEY)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert first.headers["Location"] == again.headers["Location"]
    await api.settle()
    assert len(api.bus.events) == 1
    assert await count(client) == 1


async def test_requests_at_the_same_moment_have_one_effect(client: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(*(client.post("/instances", json=BODY, headers=KEY) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await count(client) == 1


async def test_the_key_of_another_request_is_refused(client: httpx.AsyncClient) -> None:
    instance_id = (await client.post("/instances", json=BODY, headers=KEY)).json()["id"]
    other_body = await client.post("/instances", json={**BODY, "plan": "free"}, headers=KEY)
    other_route = await client.post(f"/instances/{instance_id}/stop", headers=KEY)
    for response in (other_body, other_route):
        assert response.status_code == 422
        assert response.json()["type"] == "urn:clawstead:problem:idempotency-key-reused"
        assert response.json()["errors"][0]["field"] == "Idempotency-Key"
    assert await count(client) == 1


async def test_a_command_with_a_key_takes_effect_once(api: Api, client: httpx.AsyncClient) -> None:
    instance_id = (await client.post("/instances", json=BODY)).json()["id"]
    for _ in range(3):
        response = await client.post(f"/instances/{instance_id}/restart", headers=KEY)
        assert (response.status_code, response.json()["generation"]) == (202, 2)
    await api.settle()
    assert api.desired(instance_id)[-1].data.restart.count == 1


async def test_a_refused_request_does_not_use_up_its_key(client: httpx.AsyncClient) -> None:
    assert (await client.post("/instances", json={**BODY, "plan": "gold"}, headers=KEY)).status_code == 422
    assert (await client.post("/instances", json=BODY, headers=KEY)).status_code == 202


async def test_a_key_is_free_again_after_a_day(api: Api, client: httpx.AsyncClient) -> None:
    first = (await client.post("/instances", json=BODY, headers=KEY)).json()["id"]
    yesterday = datetime.now(UTC) - KEPT - timedelta(seconds=1)
    async with api.database.write() as session:
        (await session.get_one(IdempotencyKey, (OWNER, "a-key"))).created_at = yesterday
    assert (await client.post("/instances", json={**BODY, "name": "other"}, headers=KEY)).json()["id"] != first
    async with api.database.write() as session:
        await repository.drop_idempotency_keys(session, datetime.now(UTC) + timedelta(seconds=1))
        assert await session.get(IdempotencyKey, (OWNER, "a-key")) is None


async def test_a_key_with_odd_characters_is_refused(client: httpx.AsyncClient) -> None:
    for key in ["", "with space", "x" * 256, "ä"]:
        headers = {"Idempotency-Key": key.encode("latin-1")}
        response = await client.post("/instances", json=BODY, headers=headers)  # type: ignore[arg-type]
        assert response.status_code == 422, key
        assert response.json()["errors"][0]["field"] == "Idempotency-Key"
    assert await count(client) == 0
