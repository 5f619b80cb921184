"""What is wrong gets a 4xx that names the field; nothing is written and nothing published."""

import json
from typing import Any

import httpx
import pytest
from sqlalchemy import func
from sqlmodel import select

from clawstead_api.app import build_http
from clawstead_api.tables import IdempotencyKey, Instance, Outbox, Secret
from tests.support.api import TOKEN, Api

GOOD = {"name": "claw", "plan": "pro"}
CANARY = "canary-secret-value"

BAD_FIELDS: list[tuple[str, dict[str, Any]]] = [
    ("plan", {**GOOD, "plan": "gold"}),
    ("plan", {"name": "claw"}),
    ("plan", {**GOOD, "plan": None}),
    ("plan", {**GOOD, "plan": 3}),
    ("plan", {**GOOD, "plan": "x" * 65}),
    ("name", {"plan": "pro"}),
    ("name", {**GOOD, "name": ""}),
    ("name", {**GOOD, "name": "   "}),
    ("name", {**GOOD, "name": "x" * 65}),
    ("name", {**GOOD, "name": "line\nbreak"}),
    ("name", {**GOOD, "name": "nul\0"}),
    ("name", {**GOOD, "name": "\u202eright-to-left"}),
    ("bot_token", {**GOOD, "channel": "telegram"}),
    ("channel", {**GOOD, "bot_token": CANARY}),
    ("bot_token", {**GOOD, "bot_token": CANARY}),
    ("channel", {**GOOD, "channel": "smoke-signals", "bot_token": CANARY}),
    ("channel", {**GOOD, "plan": "free", "channel": "telegram", "bot_token": CANARY}),
    ("api_key", {**GOOD, "ai_provider": "anthropic"}),
    ("ai_provider", {**GOOD, "api_key": CANARY}),
    ("ai_provider", {**GOOD, "ai_provider": "abacus", "api_key": CANARY}),
    ("api_key", {**GOOD, "ai_provider": "openai", "api_key": CANARY + "\nINJECTED=1"}),
    ("api_key", {**GOOD, "ai_provider": "openai", "api_key": ""}),
    ("api_key", {**GOOD, "ai_provider": "openai", "api_key": "x" * 513}),
    ("bot_token", {**GOOD, "channel": "telegram", "bot_token": [CANARY]}),
    ("subdomain", {**GOOD, "subdomain": "a.b"}),
    ("subdomain", {**GOOD, "subdomain": "Upper"}),
    ("subdomain", {**GOOD, "subdomain": "-dash"}),
    ("subdomain", {**GOOD, "subdomain": "dash-"}),
    ("subdomain", {**GOOD, "subdomain": "x" * 64}),
    ("subdomain", {**GOOD, "subdomain": "ä"}),
    ("subdomain", {**GOOD, "subdomain": "new\n"}),
    ("subdomain", {**GOOD, "subdomain": ""}),
    ("subdomain", {**GOOD, "subdomain": "www"}),
    ("subdomain", {**GOOD, "subdomain": "hostnames"}),
    ("subdomain", {**GOOD, "subdomain": "xn--80ak6aa92e"}),
    ("subdomain", {**GOOD, "subdomain": "01arz3ndektsv4rrffq69g5fav"}),
    ("image", {**GOOD, "image": "Upper/case"}),
    ("image", {**GOOD, "image": "a b"}),
    ("image", {**GOOD, "image": "x;reboot"}),
    ("image", {**GOOD, "image": "--privileged"}),
    ("image", {**GOOD, "image": "name:" + "t" * 129}),
    ("id", {**GOOD, "id": "01arz3ndektsv4rrffq69g5fav"}),
    ("owner_id", {**GOOD, "owner_id": "other"}),
]


async def rows(api: Api) -> int:
    async with api.database.read() as session:
        tables = (Instance, Outbox, Secret, IdempotencyKey)
        return sum([(await session.exec(select(func.count()).select_from(table))).one() for table in tables])


def assert_problem(response: httpx.Response, *statuses: int) -> dict[str, Any]:
    assert response.status_code in statuses, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["type"].startswith("urn:clawstead:problem:")
    assert problem["status"] == response.status_code
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == response.headers["X-Request-ID"]
    assert CANARY not in response.text
    return problem


async def test_every_wrong_field_is_named_and_nothing_is_written(api: Api, client: httpx.AsyncClient) -> None:
    for field, body in BAD_FIELDS:
        response = await client.post("/instances", json=body, headers={"Idempotency-Key": "k"})
        problem = assert_problem(response, 422)
        assert field in [error["field"] for error in problem["errors"]], (field, problem)
    assert await rows(api) == 0
    await api.settle()
    assert api.bus.events == []
    assert api.buckets.secrets == {}


@pytest.mark.parametrize(
    ("content", "statuses"),
    [
        (b"{nope", (400,)),
        (b"", (422,)),
        (b"[]", (422,)),
        (b'"text"', (422,)),
        (b"null", (422,)),
        (b"\xff\xfe", (400, 422)),
        (b"[" * 30_000, (400, 422)),
        (b'{"name": "\\ud800", "plan": "pro"}', (422,)),
        (b'{"name": "a", "plan": "pro", "\\ud800": 1}', (422,)),
        (b'{"name": NaN, "plan": "pro"}', (422,)),
        (b'{"name": "a", "plan": "pro", "n": ' + b"9" * 5000 + b"}", (400, 422)),
    ],
)
async def test_a_body_that_is_no_request_is_refused(
    api: Api, client: httpx.AsyncClient, content: bytes, statuses: tuple[int, ...]
) -> None:
    headers = {"content-type": "application/json", "Idempotency-Key": "k"}
    assert_problem(await client.post("/instances", content=content, headers=headers), *statuses)
    assert await rows(api) == 0


async def test_a_body_without_its_type_is_refused(client: httpx.AsyncClient) -> None:
    assert_problem(await client.post("/instances", content=b"{nope"), 400, 422)
    headers = {"content-type": "text/plain"}
    assert_problem(await client.post("/instances", content=json.dumps(GOOD).encode(), headers=headers), 422)


async def test_a_large_body_is_refused_stated_or_not(api: Api, client: httpx.AsyncClient) -> None:
    async def chunks() -> Any:
        for _ in range(70):
            yield b"x" * 1024

    assert_problem(await client.post("/instances", content=b"x" * 70_000), 413)
    assert_problem(await client.post("/instances", content=chunks()), 413)
    exact = json.dumps({**GOOD, "name": "claw"}).encode()
    padded = exact + b" " * (64 * 1024 - len(exact))
    headers = {"content-type": "application/json"}
    assert (await client.post("/instances", content=padded, headers=headers)).status_code == 202
    assert_problem(await client.post("/instances", content=padded + b" ", headers=headers), 413)


@pytest.mark.parametrize(
    "path",
    [
        "a.b",
        "..%2Fetc",
        "a%0Ab",
        "x" * 65,
        "x" * 4000,
        "%C3%A4",
        "%00",
        "%FF",
        "*",
        "%3E",
        "01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "01arz3ndektsv4rrffq69g5fav",
        "01arz3ndektsv4rrffq69g5fav%0A",
        "%F0%9F%90%BE",
    ],
)
async def test_an_odd_or_unknown_id_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    for method, suffix in [
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/stop"),
        ("POST", "/terminal"),
        ("GET", "/events"),
        ("GET", "/events/stream"),
        ("GET", "/health"),
    ]:
        assert_problem(await client.request(method, f"/instances/{path}{suffix}"), 404, 405)
    assert_problem(await client.patch(f"/instances/{path}", json={"name": "x"}), 404, 405)


@pytest.mark.parametrize(
    ("field", "path"),
    [
        ("limit", "/instances?limit=0"),
        ("limit", "/instances?limit=201"),
        ("limit", "/instances?limit=many"),
        ("cursor", "/instances?cursor=a.b"),
        ("phase", "/instances?phase=dreaming"),
        ("desired_state", "/instances?desired_state=asleep"),
    ],
)
async def test_a_wrong_query_parameter_is_named(client: httpx.AsyncClient, field: str, path: str) -> None:
    problem = assert_problem(await client.get(path), 422)
    assert problem["errors"][0]["field"] == field


async def test_wrong_event_parameters_are_named(client: httpx.AsyncClient) -> None:
    instance_id = (await client.post("/instances", json=GOOD)).json()["id"]
    for field, path, headers in [
        ("before", f"/instances/{instance_id}/events?before=x", {}),
        ("before", f"/instances/{instance_id}/events?before=99999999999999999999", {}),
        ("since", f"/instances/{instance_id}/health?since=yesterday", {}),
        ("since", f"/instances/{instance_id}/health?since=2026-01-01T00:00:00", {}),
        ("Last-Event-ID", "/events", {"Last-Event-ID": "abc"}),
        ("Last-Event-ID", "/events", {"Last-Event-ID": "-1"}),
    ]:
        problem = assert_problem(await client.get(path, headers=headers), 422)
        assert problem["errors"][0]["field"] == field


@pytest.mark.parametrize("body", [{"name": None}, {"bot_token": "x"}, {"subdomain": "new"}, {"plan": "gold"}])
async def test_a_wrong_change_is_refused_and_changes_nothing(
    api: Api, client: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    instance_id = (await client.post("/instances", json=GOOD)).json()["id"]
    problem = assert_problem(await client.patch(f"/instances/{instance_id}", json=body), 422)
    assert next(iter(body)) in [error["field"] for error in problem["errors"]]
    assert (await client.get(f"/instances/{instance_id}")).json()["generation"] == 1


async def test_only_a_known_token_is_let_in(api: Api) -> None:
    for headers in [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": b"Bearer \xff\xfe"},
        {"Authorization": f"Bearer {TOKEN}x"},
    ]:
        async with api.client(token=None) as stranger:
            for method, path in [
                ("GET", "/instances"),
                ("POST", "/instances"),
                ("GET", "/nowhere"),
                ("GET", "/events"),
            ]:
                response = await stranger.request(method, path, headers=headers, content=b"{nope")  # type: ignore[arg-type]
                assert_problem(response, 401)
                assert response.headers["WWW-Authenticate"].startswith("Bearer")


async def test_unknown_routes_and_methods_are_problems_too(client: httpx.AsyncClient) -> None:
    assert_problem(await client.get("/nowhere"), 404)
    assert_problem(await client.get("http://api/"), 404)
    response = await client.put("/plans")
    assert_problem(response, 405)
    assert "GET" in response.headers["Allow"]
    assert_problem(await client.get("/instances/"), 404)


async def test_an_odd_request_id_is_replaced(client: httpx.AsyncClient) -> None:
    response = await client.get("/plans", headers={"X-Request-ID": "a b; drop table"})
    assert response.headers["X-Request-ID"] != "a b; drop table"


async def test_an_address_that_sends_too_many_wrong_tokens_is_held_up_and_its_neighbours_are_not(api: Api) -> None:
    app = build_http(api.desk, api.feed, failed_tokens_per_minute=2)

    async def status(token: str, client: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": client}
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api/api/v1", headers=headers) as http:
            return await http.get("/plans")

    assert (await status(TOKEN, "203.0.113.2")).status_code == 200
    assert [(await status(f"wrong-{number}", "203.0.113.1")).status_code for number in range(4)] == [401, 401, 401, 429]
    refused = await status("wrong", "203.0.113.1")
    problem = assert_problem(refused, 429)
    assert problem["type"] == "urn:clawstead:problem:too-many-failures"
    assert 0 < int(refused.headers["Retry-After"]) <= 30
    assert (await status("wrong", "203.0.113.2")).status_code == 401
    assert (await status(TOKEN, "203.0.113.1")).status_code == 200, "a token that is known to be somebody's"
