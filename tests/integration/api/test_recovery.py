"""Two-way recovery: a lost or older database, a lost log, and both sides with something that the other lacks."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, insert, select

from clawstead_api.auth import ensure_admin_token
from clawstead_api.tables import Table
from clawstead_shared.events import EventType, Phase
from clawstead_shared.subjects import Topic
from tests.support.api import TOKEN, Api

BODY = {"name": "claw", "plan": "pro", "channel": "telegram", "bot_token": "12345:canary"}
LOST = [table for table in Table.metadata.sorted_tables if table.name != "token"]

Copy = dict[str, list[dict[str, Any]]]


async def copied(api: Api) -> Copy:
    async with api.database.read() as session:
        connection = await session.connection()
        return {
            table.name: [dict(row) for row in (await connection.execute(select(table))).mappings()] for table in LOST
        }


async def put_back(api: Api, copy: Copy | None = None) -> None:
    """Make the database what it was, or empty."""
    async with api.database.write() as session:
        connection = await session.connection()
        for table in reversed(LOST):
            await connection.execute(delete(table))
        for table in LOST:
            if rows := (copy or {}).get(table.name):
                await connection.execute(insert(table), rows)
    await ensure_admin_token(api.database, preset=TOKEN)


def lose_log(api: Api) -> None:
    api.bus.events.clear()
    api.bus.created = datetime.now(UTC)
    api.restarted()


async def restart(api: Api) -> None:
    """Do what a start does before it consumes."""
    await api.recovery.recover()
    await api.projector.catch_up()
    await api.settle()


async def create(client: httpx.AsyncClient, **fields: Any) -> str:
    answer = await client.post("/instances", json={**BODY, **fields})
    assert answer.status_code == 202, answer.text
    instance_id: str = answer.json()["id"]
    return instance_id


async def seen(client: httpx.AsyncClient, instance_id: str) -> dict[str, Any]:
    """Return what its owner sees of an instance, but for the times of its row, which the log knows to the event."""
    view: dict[str, Any] = (await client.get(f"/instances/{instance_id}")).json()
    history = (await client.get(f"/instances/{instance_id}/events")).json()
    return {key: value for key, value in view.items() if not key.endswith("_at")} | {"history": history}


async def verified(client: httpx.AsyncClient) -> tuple[bool, int]:
    verdict = (await client.get("/audit/verify")).json()
    return verdict["ok"], verdict["records"]


async def test_a_lost_database_comes_back_from_the_log(api: Api, client: httpx.AsyncClient) -> None:
    running, stopped, gone = await create(client, subdomain="mine"), await create(client), await create(client)
    await client.patch(f"/instances/{running}", json={"name": "renamed", "plan": "enterprise"})
    await client.post(f"/instances/{running}/restart")
    await client.post(f"/instances/{stopped}/stop")
    await api.settle()
    await api.observe(running, Phase.RUNNING, generation=3)
    await client.delete(f"/instances/{gone}")
    await api.observe(gone, Phase.REMOVED, generation=2)
    before = [await seen(client, each) for each in (running, stopped)]
    chain = (await client.get("/audit")).json()
    wakes, told = api.wakes, len(api.bus.events)

    await put_back(api)
    await restart(api)

    assert [await seen(client, each) for each in (running, stopped)] == before
    assert before[0]["gateway_token"]
    assert (await client.get("/audit")).json() == chain
    assert await verified(client) == (True, 7)
    assert (await client.get(f"/instances/{gone}")).status_code == 404
    assert len((await client.get("/instances")).json()["items"]) == 2
    assert (len(api.bus.events), api.wakes > wakes) == (told, True), "nothing is told that is known"
    assert (await client.post("/instances", json=BODY | {"subdomain": "mine"})).status_code == 409
    assert (await client.post(f"/instances/{stopped}/start")).json()["generation"] == 3
    assert (await client.patch(f"/instances/{running}", json={"bot_token": "other"})).status_code == 202
    assert await verified(client) == (True, 9)


async def test_an_older_database_takes_what_the_log_knows_better(api: Api, client: httpx.AsyncClient) -> None:
    kept, freed = await create(client), await create(client, subdomain="contested")
    await api.settle()
    copy = await copied(api)
    await client.post(f"/instances/{kept}/rotate-token")
    await client.delete(f"/instances/{freed}")
    await api.settle()
    await api.observe(freed, Phase.REMOVED, generation=2)
    heir = await create(client, subdomain="contested")
    await api.settle()
    before = [await seen(client, each) for each in (kept, heir)]
    await put_back(api, copy)
    await restart(api)
    assert [await seen(client, each) for each in (kept, heir)] == before
    assert (await client.get(f"/instances/{freed}")).status_code == 404
    assert await verified(client) == (True, 5)


async def test_orders_on_an_older_database_go_on_top_of_the_log(api: Api, client: httpx.AsyncClient) -> None:
    instance_id, deleted = await create(client), await create(client)
    await api.settle()
    copy = await copied(api)
    await client.patch(f"/instances/{instance_id}", json={"name": "newer"})
    await client.post(f"/instances/{instance_id}/restart")
    await client.delete(f"/instances/{deleted}")
    await api.settle()
    await put_back(api, copy)
    # Accepted before the log could be asked.
    await client.post(f"/instances/{instance_id}/stop")
    await client.post(f"/instances/{deleted}/stop")
    other = await create(client)
    await restart(api)
    view = await seen(client, instance_id)
    assert (view["desired_state"], view["generation"]) == ("stopped", 4)
    assert [event.data.generation for event in api.desired(instance_id)] == [1, 2, 3, 4]
    assert api.desired(deleted)[-1].data.desired_state == "deleted"
    assert len(api.desired(other)) == 1
    assert await verified(client) == (True, 7)


async def test_a_lost_log_is_told_again(api: Api, client: httpx.AsyncClient) -> None:
    first, second, gone = await create(client), await create(client), await create(client)
    await client.post(f"/instances/{first}/stop")
    await api.observe(second, Phase.RUNNING)
    await client.delete(f"/instances/{gone}")
    await api.observe(gone, Phase.REMOVED, generation=2)
    before, deposits = await seen(client, second), dict(api.buckets.secrets)
    newest = api.feed.newest
    lose_log(api)
    api.buckets.secrets.clear()
    report = await api.recovery.recover()
    assert (report.republished, report.already_there) == (2, 1)
    await api.settle()
    told = {event.instance_id: event for event in api.bus.of(Topic.DESIRED)}
    assert {key: (event.type, event.data.generation, event.data.audit) for key, event in told.items()} == {  # type: ignore[attr-defined]
        first: (EventType.RESYNCED, 2, None),
        second: (EventType.RESYNCED, 1, None),
    }
    assert {event.data.actor for event in told.values()} == {"system"}  # type: ignore[attr-defined]
    assert all(event.data.request_id for event in told.values())  # type: ignore[attr-defined]
    assert api.buckets.secrets == deposits
    after = await seen(client, second)
    assert after | {"history": None} == before | {"history": None}, "what was observed stays until it is said again"
    assert after["history"]["items"][0]["sequence"] > newest
    assert after["history"]["items"][1:] == before["history"]["items"]
    assert await verified(client) == (True, 5)
    assert (await api.recovery.recover()).republished == 0, "once is enough"


async def test_both_lost_one_after_the_other(api: Api, client: httpx.AsyncClient) -> None:
    instance_id = await create(client)
    await api.settle()
    token = (await seen(client, instance_id))["gateway_token"]
    lose_log(api)
    api.buckets.secrets.clear()
    await restart(api)
    await put_back(api)
    await restart(api)
    assert (await seen(client, instance_id))["gateway_token"] == token
    assert (await client.post(f"/instances/{instance_id}/stop")).json()["generation"] == 2


async def test_a_start_that_changes_nothing_writes_nothing(api: Api, client: httpx.AsyncClient) -> None:
    await create(client)
    await api.settle()
    before = await copied(api)
    await restart(api)
    assert await copied(api) == before | {"setting": (await copied(api))["setting"]}


async def test_what_waits_in_the_outbox_is_not_told_twice(api: Api, client: httpx.AsyncClient) -> None:
    instance_id = await create(client)
    assert (await api.recovery.recover()).republished == 0
    await api.settle()
    assert [event.type for event in api.desired(instance_id)] == [EventType.CREATED]


@pytest.mark.parametrize("deposit", [None, b'{"gateway_token": "c2VhbGVk"}', b"not JSON", b"[1]"])
async def test_secrets_that_are_lost_or_old_do_not_hold_an_instance_up(
    api: Api, client: httpx.AsyncClient, deposit: bytes | None
) -> None:
    instance_id = await create(client)
    await api.settle()
    api.buckets.secrets.clear()
    if deposit:
        api.buckets.secrets[instance_id] = deposit
    await put_back(api)
    await restart(api)
    assert (await seen(client, instance_id))["gateway_token"] is None
    assert (await client.post(f"/instances/{instance_id}/rotate-token")).status_code == 202
    assert (await seen(client, instance_id))["gateway_token"]


async def test_old_secrets_get_the_owners_copy(api: Api, client: httpx.AsyncClient) -> None:
    instance_id = await create(client)
    await api.settle()
    whole = api.buckets.secrets[instance_id]
    api.buckets.secrets[instance_id] = b'{"gateway_token": "c2VhbGVk"}'
    await restart(api)
    assert api.buckets.secrets[instance_id] == whole


async def test_a_contested_subdomain_stays_with_the_older_instance(api: Api, client: httpx.AsyncClient) -> None:
    older = await create(client, subdomain="contested")
    await api.settle()
    await put_back(api)
    newer = await create(client, subdomain="contested")  # before the log could be asked
    await restart(api)
    assert (await seen(client, older))["subdomain"] == "contested"
    view = await seen(client, newer)
    assert (view["subdomain"], view["generation"]) == (newer, 2)
    assert newer in view["url"]
    last = api.desired(newer)[-1]
    assert (last.type, last.data.actor, last.data.spec.subdomain) == (EventType.RECONFIGURED, "system", newer)
    assert await verified(client) == (True, 3)
