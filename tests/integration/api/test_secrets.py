"""Secrets on their way to the provisioner: each sealed alone, replaced alone, and seen by nobody else."""

import base64
import json

import httpx
from nacl.public import SealedBox

from clawstead_shared.events import EventType
from tests.support.api import Api


async def created(client: httpx.AsyncClient, **body: object) -> dict[str, object]:
    response = await client.post("/instances", json={"name": "claw", "plan": "pro", **body})
    assert response.status_code == 202, response.text
    result: dict[str, object] = response.json()
    return result


def opened(api: Api, instance_id: str) -> dict[str, str]:
    assert api.buckets.provisioner
    box = SealedBox(api.buckets.provisioner)
    parts = json.loads(api.buckets.secrets[instance_id])
    assert api.desk.vault.unlock(base64.b64decode(parts.pop("owner_copy")))
    return {name: box.decrypt(base64.b64decode(part)).decode() for name, part in parts.items() if part}


async def token_of(client: httpx.AsyncClient, instance_id: str) -> str:
    token: str = (await client.get(f"/instances/{instance_id}")).json()["gateway_token"]
    return token


async def test_secrets_reach_only_the_provisioner(api: Api, client: httpx.AsyncClient) -> None:
    secrets = {"bot_token": "12345:canary-bot", "api_key": "sk-canary-key"}
    body = await created(client, channel="telegram", ai_provider="anthropic", **secrets)
    instance_id = str(body["id"])
    await api.settle()
    shown = (await client.get(f"/instances/{instance_id}")).json()
    assert opened(api, instance_id) == {**secrets, "gateway_token": shown["gateway_token"]}
    assert len(shown["gateway_token"]) == 64
    (event,) = api.desired(instance_id)
    history = (await client.get(f"/instances/{instance_id}/events")).text
    for shown_text in [event.data.model_dump_json(), history, json.dumps(body), json.dumps(shown)]:
        assert "canary" not in shown_text
    assert shown["gateway_token"] not in event.data.model_dump_json() + history


async def test_one_secret_is_replaced_and_the_others_stay_sealed_as_they_were(
    api: Api, client: httpx.AsyncClient
) -> None:
    instance_id = str((await created(client, ai_provider="openai", api_key="sk-1"))["id"])
    await api.settle()
    before = json.loads(api.buckets.secrets[instance_id])
    response = await client.patch(f"/instances/{instance_id}", json={"channel": "discord", "bot_token": "b-1"})
    assert response.status_code == 202
    await api.settle()
    token = await token_of(client, instance_id)
    assert opened(api, instance_id) == {"gateway_token": token, "bot_token": "b-1", "api_key": "sk-1"}
    after = json.loads(api.buckets.secrets[instance_id])
    assert {name: after[name] for name in before} == before
    desired = api.desired(instance_id)[-1].data
    assert (desired.generation, desired.secrets.revision, desired.spec.channel) == (2, 2, "discord")


async def test_a_secret_goes_with_the_channel_that_it_was_for(api: Api, client: httpx.AsyncClient) -> None:
    instance_id = str((await created(client, channel="discord", bot_token="b-1"))["id"])
    path = f"/instances/{instance_id}"
    assert (await client.patch(path, json={"channel": None})).json()["channel"] is None
    await api.settle()
    assert opened(api, instance_id) == {"gateway_token": await token_of(client, instance_id)}
    again = await client.patch(path, json={"channel": "discord"})
    assert [error["field"] for error in again.json()["errors"]] == ["bot_token"]
    await client.patch(path, json={"name": "renamed"})
    await api.settle()
    assert api.desired(instance_id)[-1].data.secrets.revision == 2, "a change of something else leaves secrets alone"


async def test_a_rotated_token_is_seen_by_the_owner_and_told_to_the_provisioner(
    api: Api, client: httpx.AsyncClient
) -> None:
    instance_id = str((await created(client, ai_provider="openai", api_key="sk-1"))["id"])
    old = await token_of(client, instance_id)
    once = {"Idempotency-Key": "rotate-1"}
    answers = [await client.post(f"/instances/{instance_id}/rotate-token", headers=once) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert [answer.json()["generation"] for answer in answers] == [2, 2]
    new = await token_of(client, instance_id)
    assert new != old
    assert new not in answers[0].text
    await api.settle()
    assert opened(api, instance_id) == {"gateway_token": new, "api_key": "sk-1"}
    event = api.desired(instance_id)[-1]
    assert (event.type, event.data.generation) == (EventType.TOKEN_ROTATION_REQUESTED, 2)
    assert event.data.secrets.revision == 2
    assert new not in event.data.model_dump_json()
    await client.post(f"/instances/{instance_id}/stop")
    assert (await client.post(f"/instances/{instance_id}/rotate-token")).status_code == 202
    await client.delete(f"/instances/{instance_id}")
    assert (await client.post(f"/instances/{instance_id}/rotate-token")).status_code == 409


async def test_a_rotation_waits_for_no_bus_and_no_provisioner(api: Api, client: httpx.AsyncClient) -> None:
    instance_id = str((await created(client))["id"])
    await api.settle()
    api.bus.available = api.buckets.available = False
    assert (await client.post(f"/instances/{instance_id}/rotate-token")).status_code == 202
    api.bus.available = api.buckets.available = True
    await api.settle()
    assert opened(api, instance_id) == {"gateway_token": await token_of(client, instance_id)}
