"""The audit chain: every change names who made it, and whatever is done to the chain is found."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlmodel import select

from clawstead_api import audit
from clawstead_api.database import Database
from clawstead_api.tables import Audit, Outbox
from clawstead_shared.ids import new_event_id, new_instance_id
from tests.support.api import OWNER, Api

BODY = {"name": "claw", "plan": "pro"}
Tamper = Callable[[Database], Awaitable[None]]


async def run(database: Database, statement: str) -> None:
    async with database.write() as session:
        await (await session.connection()).execute(text(statement))


async def verdict(client: httpx.AsyncClient) -> dict[str, Any]:
    response = await client.get("/audit/verify")
    assert response.status_code == 200
    found: dict[str, Any] = response.json()
    return found


@pytest.fixture
async def five(api: Api, client: httpx.AsyncClient) -> str:
    """An instance with five changes, all told."""
    instance_id: str = (await client.post("/instances", json=BODY)).json()["id"]
    for order in ("stop", "start", "restart", "update"):
        assert (await client.post(f"/instances/{instance_id}/{order}")).status_code == 202
    await api.settle()
    return instance_id


async def test_every_way_to_write_names_its_actor_and_request(api: Api, client: httpx.AsyncClient) -> None:
    created = await client.post("/instances", json=BODY, headers={"X-Request-ID": "request-0"})
    instance_id = created.json()["id"]
    path = f"/instances/{instance_id}"
    orders = [
        ("PATCH", path, {"name": "other"}),
        ("POST", f"{path}/stop", None),
        ("POST", f"{path}/start", None),
        ("POST", f"{path}/restart", None),
        ("POST", f"{path}/update", {"force": True}),
        ("POST", f"{path}/rotate-token", None),
        ("DELETE", path, None),
        ("DELETE", f"{path}?force=true", None),
    ]
    for number, (method, address, body) in enumerate(orders, start=1):
        answer = await client.request(method, address, json=body, headers={"X-Request-ID": f"request-{number}"})
        assert answer.status_code == 202, address
    await api.settle()
    said = [(event.data.actor, event.data.request_id, event.data.audit.number) for event in api.desired(instance_id)]
    assert said == [(OWNER, f"request-{number}", number + 1) for number in range(9)]
    page = (await client.get("/audit", params={"instance": instance_id})).json()
    assert [(item["actor"], item["request_id"]) for item in reversed(page["items"])] == [each[:2] for each in said]
    assert (await verdict(client)) == {"ok": True, "records": 9, "in_log": 9, "log_checked": True, "finding": None}


async def test_the_chain_is_listed_in_pages_and_narrowed(api: Api, client: httpx.AsyncClient, five: str) -> None:
    other = (await client.post("/instances", json=BODY)).json()["id"]
    first = (await client.get("/audit", params={"limit": 4})).json()
    second = (await client.get("/audit", params={"limit": 4, "before": first["next_before"]})).json()
    assert [item["number"] for item in first["items"] + second["items"]] == [6, 5, 4, 3, 2, 1]
    assert second["next_before"] is None
    assert [item["instance_id"] for item in (await client.get(f"/audit?instance={other}")).json()["items"]] == [other]
    assert (await client.get("/audit?actor=nobody")).json()["items"] == []
    newest = first["items"][0]["time"]
    assert [i["number"] for i in (await client.get("/audit", params={"since": newest})).json()["items"]] == [6]
    assert (await client.get("/audit?instance=;drop")).status_code == 422


async def test_only_operators_see_the_chain(api: Api, client: httpx.AsyncClient) -> None:
    await run(api.database, "UPDATE token SET owner_id = 'customer'")
    assert [(await client.get(path)).status_code for path in ("/audit", "/audit/verify")] == [404, 404]
    async with api.client(token=None) as stranger:
        assert (await stranger.get("/audit")).status_code == 401


async def delete(database: Database) -> None:
    await run(database, "DELETE FROM audit WHERE number = 3")


async def alter(database: Database) -> None:
    await run(database, "UPDATE audit SET actor = 'someone-else' WHERE number = 3")


async def alter_with_all_digests_after_it(database: Database) -> None:
    async with database.write() as session:
        rows = (await session.exec(select(Audit).where(Audit.number >= 3).order_by(Audit.number))).all()  # type: ignore[arg-type]
        rows[0].actor = "someone-else"
        previous = rows[0].previous
        for row in rows:
            row.previous = previous
            previous = row.digest = audit.digest_of(row)


async def swap(database: Database) -> None:
    await run(database, "UPDATE audit SET number = 99 WHERE number = 3")
    await run(database, "UPDATE audit SET number = 3 WHERE number = 4")
    await run(database, "UPDATE audit SET number = 4 WHERE number = 99")


async def append(database: Database) -> None:
    async with database.write() as session:
        head = await audit.newest(session)
        assert head
        fields = head.model_dump() | {"number": head.number + 1, "event_id": new_event_id(), "previous": head.digest}
        forged = Audit(**fields)
        forged.digest = audit.digest_of(forged)
        session.add(forged)


async def behead(database: Database) -> None:
    await run(database, "DELETE FROM audit WHERE number = 5")


@pytest.mark.usefixtures("five")
@pytest.mark.parametrize(
    ("tamper", "number", "problem"),
    [
        (alter, 3, "altered"),
        (alter_with_all_digests_after_it, 3, "altered"),
        (delete, 3, "missing"),
        (swap, 3, "altered"),
        (append, 6, "not_in_log"),
        (behead, 5, "missing"),
    ],
)
async def test_the_first_record_that_is_wrong_is_named(
    api: Api, client: httpx.AsyncClient, tamper: Tamper, number: int, problem: str
) -> None:
    await tamper(api.database)
    found = await verdict(client)
    assert not found["ok"]
    assert (found["finding"]["number"], found["finding"]["problem"]) == (number, problem)


@pytest.mark.parametrize(("tamper", "number"), [(alter, 3), (delete, 3), (swap, 3)])
@pytest.mark.usefixtures("five")
async def test_the_chain_alone_is_checked_while_the_bus_is_away(
    api: Api, client: httpx.AsyncClient, tamper: Tamper, number: int
) -> None:
    api.bus.available = False
    assert (await verdict(client)) == {"ok": True, "records": 5, "in_log": 0, "log_checked": False, "finding": None}
    await tamper(api.database)
    assert (await verdict(client))["finding"]["number"] == number


async def test_an_event_that_was_altered_while_it_waited_is_named(api: Api, client: httpx.AsyncClient) -> None:
    for _ in range(3):
        await client.post("/instances", json=BODY)
    async with api.database.write() as session:
        row = (await session.exec(select(Outbox).order_by(Outbox.id).offset(1))).first()  # type: ignore[arg-type]
        assert row
        assert row.payload
        row.payload = row.payload.replace('"running"', '"stopped"')
    for _ in ("in the outbox", "in the log"):
        found = await verdict(client)
        assert (found["finding"]["number"], found["finding"]["problem"]) == (2, "event_altered")
        await api.settle()


async def test_a_record_that_the_log_cannot_know_is_no_finding(api: Api, client: httpx.AsyncClient, five: str) -> None:
    api.bus.events.clear()
    api.bus.created = (await api.bus.identity()).created.replace(year=2999)
    found = await verdict(client)
    assert (found["ok"], found["records"], found["in_log"]) == (True, 5, 0)


async def test_a_change_that_fails_leaves_no_record(api: Api, client: httpx.AsyncClient, five: str) -> None:
    await client.post("/instances", json=BODY | {"subdomain": "taken"})
    assert (await client.post("/instances", json=BODY | {"subdomain": "taken"})).status_code == 409
    assert (await client.post(f"/instances/{new_instance_id()}/stop")).status_code == 404
    assert (await verdict(client))["records"] == 6
