"""Creating, showing, listing and changing instances, on both databases."""

from datetime import UTC, datetime, timedelta

import httpx
import jwt
import pytest

from clawstead_api.tables import Instance
from clawstead_shared import tickets
from clawstead_shared.events import DesiredState, EventType, Health, Phase, Route, Verdict
from clawstead_shared.events import Event as BusEvent
from tests.support.api import OWNER, Api

CREATE = {"name": "my claw", "plan": "pro"}


async def created(client: httpx.AsyncClient, **body: object) -> dict[str, object]:
    response = await client.post("/instances", json={**CREATE, **body})
    assert response.status_code == 202, response.text
    result: dict[str, object] = response.json()
    return result


async def test_creating_is_accepted_and_told_to_the_bus(api: Api, client: httpx.AsyncClient) -> None:
    response = await client.post("/instances", json=CREATE, headers={"X-Request-ID": "from-the-edge"})
    assert response.status_code == 202
    body = response.json()
    assert response.headers["Location"] == f"/api/v1/instances/{body['id']}"
    assert response.headers["X-Request-ID"] == "from-the-edge"
    assert (body["phase"], body["desired_state"], body["generation"]) == ("pending", "running", 1)
    assert body["observed_generation"] is None
    assert body["url"] == f"https://{body['id']}.claw.localhost:8443"
    assert "gateway_token" not in body
    assert "port" not in body
    assert api.bus.events == [], "nothing is published inside the request"
    assert api.wakes == 1

    await api.settle()
    (event,) = api.desired(body["id"])
    desired = event.data
    assert event.type is EventType.CREATED
    assert (desired.generation, desired.desired_state, desired.actor) == (1, DesiredState.RUNNING, OWNER)
    assert desired.request_id == "from-the-edge"
    assert (desired.spec.plan, desired.spec.subdomain, desired.spec.image) == ("pro", body["id"], "openclaw:local")
    assert desired.spec.origin == body["url"]
    assert desired.spec.limits.memory_bytes == 2 * 1024**3
    assert desired.spec.model == "anthropic/claude-opus-5"
    assert desired.secrets is not None
    assert (desired.secrets.key, desired.secrets.revision) == (body["id"], 1)


async def test_the_owner_sees_what_was_observed(api: Api, client: httpx.AsyncClient) -> None:
    instance_id = str((await created(client))["id"])
    now = datetime.now(UTC)
    await api.observe(instance_id, Phase.RUNNING, port=12345, started_at=now)
    await api.report(
        BusEvent(
            EventType.ROUTE_CHANGED,
            "proxy-sync",
            Route(instance_id=instance_id, generation=1, hostname="h", active=True, map_generation=1),
        )
    )
    await api.report(
        BusEvent(
            EventType.VERDICT_CHANGED, "health", Health(instance_id=instance_id, verdict=Verdict.HEALTHY, since=now)
        )
    )
    shown = (await client.get(f"/instances/{instance_id}")).json()
    assert (shown["phase"], shown["observed_generation"], shown["port"]) == ("running", 1, 12345)
    assert shown["route_active"] is True
    assert shown["health"]["verdict"] == "healthy"
    health = (await client.get(f"/instances/{instance_id}/health")).json()
    assert health["current"]["verdict"] == "healthy"
    assert [change["verdict"] for change in health["changes"]] == ["healthy"]
    later = {"since": "2999-01-01T00:00:00Z"}
    assert (await client.get(f"/instances/{instance_id}/health", params=later)).json()["changes"] == []


async def test_a_failure_says_why(api: Api, client: httpx.AsyncClient) -> None:
    instance_id = str((await created(client))["id"])
    await api.observe(instance_id, Phase.FAILED, reason="config_invalid", message="unknown key", host=None, port=None)
    shown = (await client.get(f"/instances/{instance_id}")).json()
    assert (shown["phase"], shown["reason"], shown["message"]) == ("failed", "config_invalid", "unknown key")


async def test_lists_are_paged_newest_first_and_filtered(api: Api, client: httpx.AsyncClient) -> None:
    ids = [str((await created(client, name=f"n{number}"))["id"]) for number in range(5)]
    await api.observe(ids[0], Phase.RUNNING)
    seen: list[str] = []
    cursor = None
    while True:
        params = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = (await client.get("/instances", params=params)).json()
        assert len(page["items"]) <= 2
        seen += [item["id"] for item in page["items"]]
        if not (cursor := page["next_cursor"]):
            break
    assert seen == sorted(ids, reverse=True)
    for params, expected in [
        ({"phase": "running"}, ids[:1]),
        ({"phase": "pending", "limit": "100"}, ids[:0:-1]),
        ({"name": "n3"}, [ids[3]]),
        ({"plan": "free"}, []),
        ({"desired_state": "stopped"}, []),
    ]:
        page = (await client.get("/instances", params=params)).json()
        assert [item["id"] for item in page["items"]] == sorted(expected, reverse=True), params


async def test_a_subdomain_is_unique_among_the_living(api: Api, client: httpx.AsyncClient) -> None:
    instance_id = str((await created(client, subdomain="ada"))["id"])
    assert (await client.get(f"/instances/{instance_id}")).json()["url"] == "https://ada.claw.localhost:8443"
    clash = await client.post("/instances", json={**CREATE, "subdomain": "ada"})
    assert clash.status_code == 409
    assert clash.json()["errors"][0]["field"] == "subdomain"
    await client.delete(f"/instances/{instance_id}")
    assert (await client.post("/instances", json={**CREATE, "subdomain": "ada"})).status_code == 409
    await api.observe(instance_id, Phase.REMOVED, generation=2, host=None, port=None)
    await created(client, subdomain="ada")


async def test_a_deleted_instances_subdomain_is_free_once_nobody_is_sent_there(
    api: Api, client: httpx.AsyncClient
) -> None:
    def route(generation: int, *, active: bool) -> BusEvent[Route]:
        data = Route(
            instance_id=instance_id,
            generation=generation,
            hostname="ada.claw.localhost",
            active=active,
            map_generation=1,
        )
        return BusEvent(EventType.ROUTE_CHANGED, "proxy-sync", data)

    instance_id = str((await created(client, subdomain="ada"))["id"])
    await api.report(route(1, active=True))
    await client.delete(f"/instances/{instance_id}")
    await api.observe(instance_id, Phase.REMOVED, generation=2, host=None, port=None)
    clash = await client.post("/instances", json={**CREATE, "subdomain": "ada"})
    assert clash.status_code == 409
    assert clash.json()["type"] == "urn:clawstead:problem:subdomain-taken"
    assert "still has this subdomain" in clash.json()["errors"][0]["detail"]
    await created(client, subdomain="eve")
    await api.report(route(2, active=False))
    await created(client, subdomain="ada")


async def test_a_word_of_the_edge_that_was_lost_does_not_keep_a_subdomain_for_ever(
    api: Api, client: httpx.AsyncClient
) -> None:
    instance_id = str((await created(client, subdomain="ada"))["id"])
    data = Route(instance_id=instance_id, generation=1, hostname="ada.claw.localhost", active=True, map_generation=1)
    await api.report(BusEvent(EventType.ROUTE_CHANGED, "proxy-sync", data))
    await client.delete(f"/instances/{instance_id}")
    await api.observe(instance_id, Phase.REMOVED, generation=2, host=None, port=None)
    async with api.database.write() as session:
        instance = await session.get_one(Instance, instance_id)
        assert instance.removed_at
        instance.removed_at -= timedelta(days=2)
    await created(client, subdomain="ada")


async def test_an_instance_of_another_owner_does_not_exist(api: Api, client: httpx.AsyncClient) -> None:
    instance_id = str((await created(client))["id"])
    async with api.database.write() as session:
        (await session.get_one(Instance, instance_id)).owner_id = "someone-else"
    assert (await client.get("/instances")).json()["items"] == []
    for method, path in [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/start"),
        ("POST", "/stop"),
        ("POST", "/restart"),
        ("POST", "/update"),
        ("POST", "/rotate-token"),
        ("DELETE", "?force=true"),
        ("POST", "/terminal"),
        ("POST", "/dashboard-link"),
        ("GET", "/events"),
        ("GET", "/events/stream"),
        ("GET", "/health"),
    ]:
        body = {"name": "x"} if method == "PATCH" else None
        response = await client.request(method, f"/instances/{instance_id}{path}", json=body)
        assert response.status_code == 404, (method, path)


async def test_changing_makes_a_new_generation_and_keeps_the_rest(api: Api, client: httpx.AsyncClient) -> None:
    instance_id = str((await created(client))["id"])
    response = await client.patch(f"/instances/{instance_id}", json={"name": "renamed", "plan": "enterprise"})
    assert response.status_code == 202
    assert (response.json()["name"], response.json()["generation"]) == ("renamed", 2)
    await api.settle()
    event = api.desired(instance_id)[-1]
    assert event.type is EventType.RECONFIGURED
    assert (event.data.spec.name, event.data.spec.plan, event.data.spec.browser) == ("renamed", "enterprise", True)
    assert event.data.spec.limits.memory_bytes == 4 * 1024**3
    assert event.data.secrets.revision == 1


@pytest.mark.parametrize("body", [{}, {"name": "my claw"}, {"plan": "pro", "channel": None}])
async def test_a_change_that_changes_nothing_is_accepted_without_an_event(
    api: Api, client: httpx.AsyncClient, body: dict[str, object]
) -> None:
    instance_id = str((await created(client))["id"])
    response = await client.patch(f"/instances/{instance_id}", json=body)
    assert (response.status_code, response.json()["generation"]) == (202, 1)
    await api.settle()
    assert len(api.desired(instance_id)) == 1


async def test_a_plan_without_the_channel_in_use_is_refused(client: httpx.AsyncClient) -> None:
    instance_id = str((await created(client, channel="telegram", bot_token="1:a"))["id"])
    response = await client.patch(f"/instances/{instance_id}", json={"plan": "free"})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "channel"


@pytest.fixture
async def running(api: Api, client: httpx.AsyncClient) -> str:
    instance_id = str((await created(client))["id"])
    await api.observe(instance_id, Phase.RUNNING)
    return instance_id


async def test_a_terminal_ticket_names_the_instance_and_its_owner(
    api: Api, client: httpx.AsyncClient, running: str
) -> None:
    response = await client.post(f"/instances/{running}/terminal")
    assert response.status_code == 201
    assert response.headers["Cache-Control"] == "no-store"
    assert response.json()["url"] == "wss://claw.localhost:8443/ws/terminal"
    claims = jwt.decode(
        response.json()["ticket"],
        api.desk.tickets.public_pem,
        algorithms=[tickets.ALGORITHM],
        audience=tickets.AUDIENCE,
        issuer=tickets.ISSUER,
        options={"require": list(tickets.REQUIRED_CLAIMS)},
    )
    assert (claims["sub"], claims["owner"], claims["purpose"]) == (running, OWNER, "terminal")
    assert claims["exp"] - claims["iat"] == 60


async def test_a_dashboard_link_hides_its_ticket_in_the_fragment(client: httpx.AsyncClient, running: str) -> None:
    response = await client.post(f"/instances/{running}/dashboard-link")
    assert response.status_code == 201
    link, _, ticket = response.json()["url"].partition("#ticket=")
    assert link == "https://claw.localhost:8443/open"
    assert jwt.decode(ticket, options={"verify_signature": False})["purpose"] == "dashboard"


@pytest.mark.parametrize("kind", ["terminal", "dashboard-link"])
async def test_only_a_running_instance_can_be_reached_into(
    api: Api, client: httpx.AsyncClient, running: str, kind: str
) -> None:
    await client.post(f"/instances/{running}/stop")
    assert (await client.post(f"/instances/{running}/{kind}")).status_code == 409
    await api.observe(running, Phase.STOPPED, generation=2)
    response = await client.post(f"/instances/{running}/{kind}")
    assert response.status_code == 409
    assert response.json()["type"] == "urn:clawstead:problem:instance-not-running"


async def test_plans_are_listed_with_their_limits(client: httpx.AsyncClient) -> None:
    plans = (await client.get("/plans")).json()
    assert list(plans) == ["free", "pro", "enterprise"]
    assert plans["free"]["memory_bytes"] == 1536 * 1024**2
    assert "telegram" not in plans["free"]["channels"]
    assert [plan["warnings"] for plan in plans.values()] == [[], [], []]
