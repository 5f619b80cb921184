"""What visitors get from a real nginx: pages, proxying, headers, TLS."""

import asyncio
import json
import os
import socket
import ssl
from pathlib import Path

import pytest
import websockets

from clawstead_proxy_sync.nginx_map import Page, Upstream
from tests.integration.proxy_sync.conftest import RunningEdge
from tests.support.ports import free_port
from tests.support.site import EchoSite, SiteClient
from tests.support.wait import wait_until

HSTS = "max-age=31536000"


@pytest.fixture
async def routed(running_edge: RunningEdge, upstream: Upstream) -> RunningEdge:
    """An edge with one instance of every kind."""
    dead = Upstream("127.0.0.1", free_port())
    await running_edge.edge.publish(
        {
            "blue": upstream,
            "booting": upstream,
            "dead": dead,
            "halted": upstream,
        }
    )
    pages = {"early": Page.STARTING, "halted": Page.STOPPED, "broken": Page.FAILED}
    for label, page in pages.items():
        running_edge.edge.close_gate(label, page)
    for label in ("blue", "dead"):
        running_edge.edge.open_gate(label)
    return running_edge


PAGES = [
    ("nobody", 404, "unknown", "no instance here"),
    ("booting", 503, "starting", "is starting"),
    ("early", 503, "starting", "is starting"),
    ("halted", 503, "stopped", "is stopped"),
    ("broken", 503, "failed", "stopped after a failure"),
    ("dead", 503, "starting", "is starting"),
]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD"])
@pytest.mark.parametrize(("label", "status", "page", "text"), PAGES, ids=[row[0] for row in PAGES])
async def test_a_page_says_why_there_is_no_instance_whatever_the_method(
    routed: RunningEdge, client: SiteClient, label: str, status: int, page: str, text: str, method: str
) -> None:
    response = await client.request(method, label, "/deep/path?x=1", content=b"body" if method != "HEAD" else None)
    assert response.status_code == status
    assert response.headers["x-clawstead-page"] == page
    assert response.headers["strict-transport-security"] == HSTS
    assert response.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert response.headers.get("retry-after") == ("3" if status == 503 else None)
    assert "nginx/" not in response.headers["server"]
    if method != "HEAD":
        assert text in response.text


async def test_clients_that_ask_for_json_get_problem_details(routed: RunningEdge, client: SiteClient) -> None:
    response = await client.get("halted", headers={"Accept": "application/json"})
    assert response.headers["content-type"].startswith("application/problem+json")
    assert response.json()["status"] == 503


@pytest.mark.parametrize(
    ("path", "text"), [("/", "OpenClaw, hosted"), ("/open", "Opening your dashboard"), ("/nowhere", "nothing here")]
)
async def test_the_bare_domain_has_pages_of_its_own(client: SiteClient, path: str, text: str) -> None:
    response = await client.get(None, path)
    assert response.status_code == (404 if path == "/nowhere" else 200)
    assert text in response.text
    assert response.headers["strict-transport-security"] == HSTS
    assert response.headers["referrer-policy"] == "no-referrer"


async def test_internal_addresses_are_not_for_visitors(routed: RunningEdge, client: SiteClient) -> None:
    for label in (None, "blue"):
        for path in ("/.clawstead/starting.html", "/.clawstead/newer", "/.clawstead/route"):
            assert (await client.get(label, path)).status_code == 404


async def test_a_request_reaches_its_instance_as_it_was_sent(routed: RunningEdge, client: SiteClient) -> None:
    response = await client.request("POST", "blue", "/a%20b//c?x=%2F&y", content=b"payload")
    echoed = response.json()
    assert (echoed["method"], echoed["path"], echoed["body"]) == ("POST", "/a%20b//c?x=%2F&y", "payload")
    assert echoed["headers"]["Host"] == f"blue.claw.localhost:{client.port}"
    assert response.headers.get_list("strict-transport-security") == [HSTS]


async def test_forwarding_headers_are_the_edges_own_and_never_the_visitors(
    routed: RunningEdge, client: SiteClient
) -> None:
    forged = {
        "X-Forwarded-For": "6.6.6.6",
        "X-Real-IP": "6.6.6.6",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.test",
        "X-Forwarded-User": "admin",
        "Forwarded": "for=6.6.6.6",
        "X-Request-ID": "bad id\u007f" * 40,
    }
    headers = (await client.get("blue", headers=forged)).json()["headers"]
    assert headers["X-Forwarded-For"] == headers["X-Real-IP"] == "192.0.2.1", "loopback is hidden from the gateway"
    assert headers["X-Forwarded-Proto"] == "https"
    assert headers["X-Forwarded-Host"] == f"blue.claw.localhost:{client.port}"
    assert "X-Forwarded-User" not in headers
    assert "Forwarded" not in headers
    assert len(headers["X-Request-ID"]) == 32


async def test_the_api_sees_the_true_client_the_trace_and_the_request_id(client: SiteClient) -> None:
    sent = {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "X-Request-ID": "mine-1", "X-Forwarded-For": "6"}
    headers = (await client.get(None, "/api/v1/plans", headers=sent)).json()["headers"]
    assert headers["X-Forwarded-For"] == "127.0.0.1"
    assert headers["traceparent"] == sent["traceparent"]
    assert headers["X-Request-ID"] == "mine-1"


@pytest.mark.parametrize("status", [404, 500, 502, 503])
async def test_an_instances_own_errors_are_left_alone(routed: RunningEdge, client: SiteClient, status: int) -> None:
    response = await client.get("blue", f"/status/{status}")
    assert (response.status_code, response.text) == (status, "the site's own answer")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/admin/rpc",
        "/api/v1/admin",
        "/API/v1/ADMIN/rpc",
        "//host/api/v1/admin/rpc",
        "/api//v1/./admin/rpc",
        "/api/v1/%61dmin/rpc",
        "/api/v1/x/../admin/rpc",
        "/api/v1/admin/rpc%2f..%2f..%2f..%2f..%2fz",
        "/api/v1%5Cadmin/rpc",
        f"/{'api/v1/' * 2000}admin/rpc",
    ],
    ids=lambda path: path[-40:],
)
async def test_the_gateways_admin_calls_are_not_public(
    routed: RunningEdge, client: SiteClient, site: EchoSite, path: str
) -> None:
    assert (await raw_get(client, "blue", path)).startswith("HTTP/1.1 403")
    assert site.requests == []


async def test_a_backslash_cannot_stand_for_a_slash(routed: RunningEdge, client: SiteClient, site: EchoSite) -> None:
    assert (await raw_get(client, "blue", "/api/x\\../v1/admin/rpc")).startswith("HTTP/1.1 403")
    assert site.requests == []


async def test_what_only_looks_like_an_admin_call_is_served(routed: RunningEdge, client: SiteClient) -> None:
    for path in ("/api/v1/administrator", "/page?next=/api/v1/admin/", "/api/v1/" * 800):
        assert (await client.get("blue", path)).status_code == 200


async def raw_get(client: SiteClient, label: str, path: str) -> str:
    """Send a path that HTTP libraries would tidy up."""
    host = f"{label}.{client.domain}"
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port, ssl=client.tls, server_hostname=host)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}:{client.port}\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer.decode()


@pytest.mark.parametrize("host", ["BLUE.claw.localhost", "blue.claw.localhost."])
async def test_names_are_matched_as_dns_does(routed: RunningEdge, client: SiteClient, host: str) -> None:
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", client.port, ssl=client.tls, server_hostname="blue.claw.localhost"
    )
    writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_a_websocket_runs_through_and_its_origin_is_passed(routed: RunningEdge, client: SiteClient) -> None:
    async with connected(client, "blue", "/socket") as ws:
        hello = json.loads(await ws.recv())
        assert hello["origin"] == "https://blue.claw.localhost"
        await ws.send("hi")
        assert await ws.recv() == "echo hi"
        await ws.send(b"\x00\xff")
        assert await ws.recv() == b"\x00\xff"


async def test_the_terminal_is_under_the_bare_domain(client: SiteClient) -> None:
    async with connected(client, None, "/ws/terminal") as ws:
        assert json.loads(await ws.recv()) == {
            "origin": "https://claw.localhost",
            "path": "/ws/terminal",
            "client": "127.0.0.1",
        }


def connected(client: SiteClient, label: str | None, path: str) -> websockets.connect:
    host = f"{label}.{client.domain}" if label else client.domain
    return websockets.connect(
        f"wss://{host}:{client.port}{path}",
        host="127.0.0.1",
        port=client.port,
        ssl=client.tls,
        origin=f"https://{host}",  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(("label", "path"), [(None, "/api/stream"), ("blue", "/stream")])
async def test_an_event_stream_arrives_as_it_is_written(
    routed: RunningEdge, client: SiteClient, label: str | None, path: str
) -> None:
    host = f"{label}.{client.domain}" if label else client.domain
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port, ssl=client.tls, server_hostname=host)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: gzip\r\n\r\n".encode())
    async with asyncio.timeout(5):
        await reader.readuntil(b"data: first\n\n")
    writer.close()


async def test_the_api_refuses_large_bodies_as_a_problem_and_never_sees_them(
    client: SiteClient, site: EchoSite
) -> None:
    assert (await client.request("POST", None, "/api/v1/instances", content=b"x" * 65536)).status_code == 200
    response = await client.request("POST", None, "/api/v1/instances", content=b"x" * 65537)
    assert response.status_code == 413
    assert response.headers["content-type"].startswith("application/problem+json")
    assert response.headers["strict-transport-security"] == HSTS
    assert len(site.requests) == 1


@pytest.mark.parametrize("path", ["/api/v1/instances", "/ws/terminal"])
async def test_an_absent_part_of_the_platform_is_a_problem_with_a_time_to_retry(
    client: SiteClient, site: EchoSite, path: str
) -> None:
    await site.stop()
    response = await client.request("POST", None, path, content=b"{}")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "3"
    assert response.json()["title"] == "Not available"


async def test_plain_http_is_sent_to_https_and_strangers_are_hung_up_on(running_edge: RunningEdge) -> None:
    port = running_edge.settings.http_port
    for host in ("claw.localhost", "blue.claw.localhost"):
        answer = await plain(port, host)
        assert answer.startswith("HTTP/1.1 301")
        assert f"Location: https://{host}:{running_edge.settings.https_port}/x?y=1\r\n" in answer
    with pytest.raises(ConnectionResetError):
        await plain(port, "evil.test")


async def plain(port: int, host: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /x?y=1 HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    return answer


@pytest.mark.parametrize("name", ["evil.test", "a.b.claw.localhost", None])
async def test_a_name_that_is_not_ours_gets_no_handshake(client: SiteClient, name: str | None) -> None:
    def shake() -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with socket.create_connection(("127.0.0.1", client.port), 5) as plain_socket:
            context.wrap_socket(plain_socket, server_hostname=name).close()

    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.to_thread(shake)


@pytest.mark.parametrize(
    ("version", "spoken"),
    [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
async def test_only_current_tls_is_spoken(client: SiteClient, version: ssl.TLSVersion, spoken: bool) -> None:
    def shake() -> str | None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        with socket.create_connection(("127.0.0.1", client.port), 5) as plain_socket:
            return context.wrap_socket(plain_socket, server_hostname="claw.localhost").version()

    if spoken:
        assert await asyncio.to_thread(shake)
    else:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await asyncio.to_thread(shake)


async def test_http2_is_spoken(routed: RunningEdge, client: SiteClient) -> None:
    process = await asyncio.create_subprocess_exec(
        "curl", "-s", "--http2", "--max-time", "10", "-o", "/dev/null", "-w", "%{http_version} %{http_code}",
        "--cacert", str(routed.layout.tls / "ca.pem"),
        "--resolve", f"blue.claw.localhost:{client.port}:127.0.0.1",
        f"https://blue.claw.localhost:{client.port}/",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert output == b"2 200"


async def test_the_access_log_is_json_without_query_strings_or_credentials(
    routed: RunningEdge, client: SiteClient
) -> None:
    secret = "canary-7f3a"
    await client.get("blue", f"/page?token={secret}", headers={"Authorization": f"Bearer {secret}"})
    await client.get("dead", f"/page?token={secret}", headers={"Referer": f"https://x/?{secret}"})
    log = routed.layout.nginx / "access.log"
    await wait_until(lambda: log.read_text().count("\n") >= 2, timeout=5)
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert entries[0]["path"] == "/page"
    assert entries[0]["status"] == "200"
    for path in routed.layout.nginx.rglob("*"):
        if path.is_file():
            assert secret not in path.read_text(errors="replace"), path


@pytest.mark.skipif(os.geteuid() != 0, reason="only a root master changes its workers' user")
async def test_workers_are_nobody_and_still_reach_gates_and_pages(routed: RunningEdge, client: SiteClient) -> None:
    """Even where a folder above is closed to them, as root's home and pytest's own are."""
    workers = Path(f"/proc/{routed.pid}/task/{routed.pid}/children").read_text().split()
    owners = {Path(f"/proc/{pid}").stat().st_uid for pid in workers}
    assert 0 not in owners
    (routed.settings.data_dir).chmod(0o700)
    assert (await client.get("blue")).status_code == 200
    assert (await client.get("halted")).status_code == 503


async def test_secrets_lie_where_only_their_owner_reads(running_edge: RunningEdge) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in running_edge.layout.tls.iterdir()}
    assert modes["ca.key"] == modes["site.pem"] == 0o600
    assert modes["ca.pem"] == 0o644
