"""Who a visitor is, and how much one visitor may do: the address that nginx found out, nobody's own word."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import websockets

from clawstead_proxy_sync.nginx_map import Upstream
from tests.integration.proxy_sync.conftest import RunningEdge, make_settings, running
from tests.support.site import EchoSite, SiteClient
from tests.support.wait import wait_until

CREATE = "/api/v1/instances"


@pytest.fixture
async def edge(tmp_path: Path, site: EchoSite) -> AsyncIterator[RunningEdge]:
    """An edge behind a proxy at 127.0.0.1, and one in a network further out; little may be done at once."""
    settings = make_settings(
        tmp_path,
        api_port=site.port,
        terminal_ws_port=site.port,
        edge_trusted_proxies="127.0.0.1, 192.0.2.0/24",
        edge_rate_create="1/m burst=2",
        edge_rate_login="6/m burst=0",
        edge_rate_terminal="off",
    )
    async for it in running(settings):
        await it.edge.publish({"blue": Upstream("127.0.0.1", site.port)})
        it.edge.open_gate("blue")
        yield it


@pytest.fixture
async def proxy(edge: RunningEdge) -> AsyncIterator[SiteClient]:
    async with SiteClient(edge.layout.tls / "ca.pem", edge.settings.https_port) as client:
        yield client


@pytest.fixture
async def stranger(edge: RunningEdge) -> AsyncIterator[SiteClient]:
    authority = edge.layout.tls / "ca.pem"
    async with SiteClient(authority, edge.settings.https_port, address="127.0.0.9") as client:
        yield client


async def create(client: SiteClient, visitor: str) -> httpx.Response:
    return await client.request("POST", None, CREATE, content=b"{}", headers={"X-Forwarded-For": visitor})


async def test_who_does_too_much_at_once_is_told_when_to_try_again(proxy: SiteClient, site: EchoSite) -> None:
    answers = [await create(proxy, "203.0.113.1") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    refused = answers[-1]
    assert refused.headers["retry-after"] == "60"
    assert refused.headers["content-type"].startswith("application/problem+json")
    assert refused.json()["type"] == "urn:clawstead:problem:rate-limited"
    assert refused.json()["request_id"] == refused.headers["x-request-id"]
    assert len(site.requests) == 3
    others = [
        await create(proxy, "203.0.113.2"),
        await proxy.get(None, CREATE, headers={"X-Forwarded-For": "203.0.113.1"}),
    ]
    assert [answer.status_code for answer in others] == [200, 200], "another visitor, and what is not limited"


async def test_limits_of_different_things_do_not_add_up(proxy: SiteClient) -> None:
    headers = {"X-Forwarded-For": "203.0.113.7"}
    link = f"{CREATE}/01j9qz3v8m5k7r2t4w6y8a0b1c/dashboard-link"
    first = await proxy.request("POST", None, link, headers=headers)
    again = await proxy.request("POST", None, link.replace("dashboard-link", "terminal"), headers=headers)
    assert (first.status_code, again.status_code, again.headers["retry-after"]) == (200, 429, "10")
    assert (await proxy.get(None, "/ws/dashboard", headers=headers)).status_code == 429, "using a ticket counts too"
    assert (await create(proxy, "203.0.113.7")).status_code == 200
    terminals = [await proxy.get(None, "/ws/terminal", headers=headers) for _ in range(5)]
    assert {answer.status_code for answer in terminals} == {400}, "the site wants a WebSocket; nginx let it be asked"


async def test_a_network_of_ipv6_is_one_visitor(proxy: SiteClient) -> None:
    statuses = [(await create(proxy, f"2001:db8:1:2::{number}")).status_code for number in (1, 2, 3, 4)]
    assert statuses == [200, 200, 200, 429]
    assert (await create(proxy, "2001:db8:1:3::1")).status_code == 200


async def test_a_stranger_cannot_choose_an_address(stranger: SiteClient) -> None:
    statuses = [(await create(stranger, f"203.0.113.{number}")).status_code for number in range(4)]
    assert statuses == [200, 200, 200, 429]


FORGED = {
    "X-Real-IP": "6.6.6.6",
    "True-Client-IP": "6.6.6.6",
    "CF-Connecting-IP": "6.6.6.6",
    "Forwarded": "for=6.6.6.6",
}


SEEN = {
    "198.51.100.4": "198.51.100.4",
    "6.6.6.6, 198.51.100.4": "198.51.100.4",
    "6.6.6.6, 198.51.100.5, 192.0.2.77": "198.51.100.5",
    "198.51.100.4, nonsense": "127.0.0.1",
    "2001:db8::4": "2001:db8::4",
    "::1": "::1",
    "::ffff:127.0.0.9": "::ffff:127.0.0.9",
}
"""What the proxy may say, and the address that nginx takes from it: the last that no trusted proxy has."""


async def test_everybody_behind_a_trusted_proxy_sees_the_same_client(edge: RunningEdge, proxy: SiteClient) -> None:
    for forwarded, seen in SEEN.items():
        headers = {**FORGED, "X-Forwarded-For": forwarded}
        api = (await proxy.get(None, CREATE, headers=headers)).json()["headers"]
        gateway = (await proxy.get("blue", "/", headers=headers)).json()["headers"]
        expected = "192.0.2.1" if seen in {"127.0.0.1", "::1", "::ffff:127.0.0.9"} else seen
        assert (api["X-Forwarded-For"], api["X-Real-IP"]) == (seen, seen)
        assert (gateway["X-Forwarded-For"], gateway["X-Real-IP"]) == (expected, expected)
        assert not any("6.6.6.6" in value for value in (*api.values(), *gateway.values()))
        terminal = f"wss://claw.localhost:{proxy.port}/ws/terminal"
        async with websockets.connect(terminal, host="127.0.0.1", ssl=proxy.tls, additional_headers=headers) as ws:
            assert json.loads(await ws.recv())["client"] == seen
            assert ws.response
            assert ws.response.headers["X-Request-ID"]
    assert await logged_clients(edge, 3 * len(SEEN)) == sorted([*SEEN.values()] * 3)


async def test_a_strangers_word_goes_nowhere(edge: RunningEdge, stranger: SiteClient) -> None:
    headers = {**FORGED, "X-Forwarded-For": "6.6.6.6"}
    api = (await stranger.get(None, CREATE, headers=headers)).json()["headers"]
    gateway = (await stranger.get("blue", "/", headers=headers)).json()["headers"]
    assert api["X-Forwarded-For"] == "127.0.0.9"
    assert gateway["X-Forwarded-For"] == "192.0.2.1", "the gateway is not told of loopback clients"
    assert not any("6.6.6.6" in value for value in (*api.values(), *gateway.values()))
    assert await logged_clients(edge, 2) == ["127.0.0.9", "127.0.0.9"]


async def logged_clients(edge: RunningEdge, count: int) -> list[str]:
    log = edge.layout.nginx / "access.log"
    await wait_until(lambda: log.read_text().count("\n") >= count, timeout=5)
    return sorted(json.loads(line)["client"] for line in log.read_text().splitlines())


async def test_a_header_of_the_proxys_choice_is_read_and_not_passed_on(tmp_path: Path, site: EchoSite) -> None:
    settings = make_settings(
        tmp_path, api_port=site.port, edge_trusted_proxies="127.0.0.1", edge_client_header="X-Visitor"
    )
    async for it in running(settings):
        async with SiteClient(it.layout.tls / "ca.pem", settings.https_port) as client:
            sent = {"X-Visitor": "198.51.100.4", "X-Forwarded-For": "6.6.6.6"}
            headers = (await client.get(None, "/api/v1/plans", headers=sent)).json()["headers"]
        assert headers["X-Forwarded-For"] == "198.51.100.4"
        assert "X-Visitor" not in headers


async def test_nothing_that_is_secret_gets_into_a_log(edge: RunningEdge, proxy: SiteClient, site: EchoSite) -> None:
    secret = "canary-7f3a"
    headers = {
        "Authorization": f"Bearer {secret}",
        "Cookie": f"session={secret}",
        "Referer": f"https://x/?{secret}",
        "User-Agent": secret,
        "X-Request-ID": f"{secret}!",
        "traceparent": secret,
        "Sec-WebSocket-Protocol": secret,
        "X-Forwarded-For": "203.0.113.3",
    }
    for label, path in ((None, CREATE), (None, "/open"), (None, "/nowhere"), ("blue", "/x"), ("nobody", "/x")):
        await proxy.request("POST", label, f"{path}?token={secret}#{secret}", headers=headers, content=b"{}")
    for _ in range(4):
        await proxy.request("POST", None, f"{CREATE}?token={secret}", headers=headers, content=secret.encode())
    await proxy.raw("blue", f"GET /?token={secret} HTTP/1.1\r\nHost: blue.claw.localhost\r\nX: {'x' * 20000}\r\n\r\n")
    await proxy.raw("blue", f"{secret} / nonsense\r\n\r\n")
    await site.stop()
    await proxy.get("blue", f"/?token={secret}", headers=headers)
    log = edge.layout.nginx / "access.log"
    await wait_until(lambda: log.read_text().count("\n") >= 12, timeout=5)
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert {entry["status"] for entry in entries} >= {"200", "404", "429", "431", "503"}
    for file in edge.layout.nginx.rglob("*"):
        if file.is_file():
            assert secret not in file.read_text(errors="replace"), file


async def test_nothing_is_limited_that_is_switched_off(proxy: SiteClient) -> None:
    headers = {"X-Forwarded-For": "203.0.113.11"}
    answers = await asyncio.gather(*(proxy.get(None, "/ws/terminal", headers=headers) for _ in range(20)))
    assert 429 not in {answer.status_code for answer in answers}
