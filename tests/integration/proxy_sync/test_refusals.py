"""What nginx refuses by itself: always with a page of ours, under its headers, whatever is wrong with a request."""

import asyncio
import json
import shutil
from collections.abc import Iterator

import pytest

from clawstead_proxy_sync.nginx_map import Upstream
from tests.integration.proxy_sync.conftest import RunningEdge
from tests.support.site import EchoSite, SiteClient

LONG = "x" * 20_000
HSTS = "strict-transport-security: max-age=31536000"


@pytest.fixture
async def routed(running_edge: RunningEdge, upstream: Upstream) -> RunningEdge:
    await running_edge.edge.publish({"blue": upstream, "green": upstream})
    for label in ("blue", "green"):
        running_edge.edge.open_gate(label)
    return running_edge


def head_of(answer: str) -> tuple[str, str]:
    """Return the status line and the lower-cased headers."""
    status, _, headers = answer.partition("\r\n\r\n")[0].partition("\r\n")
    return status, headers.lower()


REFUSED = {
    "no HTTP": ("400", "nonsense\r\n\r\n"),
    "no host": ("400", "GET / HTTP/1.1\r\n\r\n"),
    "two hosts": ("400", "GET / HTTP/1.1\r\nHost: {host}\r\nHost: {host}\r\n\r\n"),
    "a bad host": ("400", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    "an unknown transfer": ("400", "POST / HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: odd\r\n\r\n"),
    "two lengths": ("400", "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
    "HTTP of the future": ("400", "GET / HTTP/3.7\r\nHost: {host}\r\n\r\n"),
    "an address that leads out": ("400", "GET /../../etc/passwd HTTP/1.1\r\nHost: {host}\r\n\r\n"),
    "a trace": ("405", "TRACE / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
    "too large": ("413", "POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: 999999999\r\nConnection: close\r\n\r\n"),
    "a long address": ("414", f"GET /{LONG} HTTP/1.1\r\nHost: {{host}}\r\n\r\n"),
    "a stranger's name": ("421", "GET / HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n"),
    "a name too deep": ("421", "GET / HTTP/1.1\r\nHost: a.{host}.x\r\nConnection: close\r\n\r\n"),
    "a long header": ("431", f"GET / HTTP/1.1\r\nHost: {{host}}\r\nCookie: a={LONG}\r\n\r\n"),
}


@pytest.mark.parametrize("name", ["", "blue"], ids=["platform", "instance"])
async def test_whatever_is_refused_gets_a_page_of_ours(
    routed: RunningEdge, client: SiteClient, site: EchoSite, name: str
) -> None:
    host = f"{name}.{client.domain}" if name else client.domain
    for case, (status, request) in REFUSED.items():
        answer = await client.raw(name, request.replace("{host}", host))
        line, headers = head_of(answer)
        assert line.split()[1] == status, case
        assert headers.count(HSTS) == 1, case
        assert "content-security-policy: default-src 'none'" in headers, case
        request_id = headers.split("x-request-id: ")[1].split("\r\n")[0]
        assert request_id in answer.partition("\r\n\r\n")[2], "the page shows the id that support asks for"
        assert "<center>" not in answer, case
        assert "nginx/" not in answer, case
    assert site.requests == []


async def test_a_program_gets_a_problem_with_a_stable_type(routed: RunningEdge, client: SiteClient) -> None:
    request = "POST /upload HTTP/1.1\r\nHost: blue.claw.localhost\r\nAccept: application/json\r\nX-Request-ID: mine\r\n"
    answer = await client.raw("blue", f"{request}Content-Length: 999999999\r\nConnection: close\r\n\r\n")
    assert "content-type: application/problem+json" in head_of(answer)[1]
    problem = json.loads(answer[answer.index("{") : answer.rindex("}") + 1])
    assert problem["type"] == "urn:clawstead:problem:body-too-large"
    assert (problem["status"], problem["request_id"]) == (413, "mine")


@pytest.mark.parametrize("path", ["/api/v1/instances", "/ws/terminal"])
async def test_the_api_is_refused_with_problems_whatever_it_accepts(client: SiteClient, path: str) -> None:
    response = await client.request("POST", None, path, content=b"x" * 65537, headers={"Accept": "text/html"})
    assert response.json()["type"] == "urn:clawstead:problem:body-too-large"
    assert response.json()["request_id"] == response.headers["x-request-id"]


async def test_a_body_that_does_not_say_how_large_it_is_is_bounded_too(
    routed: RunningEdge, client: SiteClient, site: EchoSite
) -> None:
    async def endless() -> Iterator[bytes]:  # type: ignore[misc]
        for _ in range(70):
            yield b"x" * 1024

    response = await client.request("POST", None, "/api/v1/instances", content=endless())
    assert response.status_code == 413


async def test_instances_take_what_the_api_does_not(routed: RunningEdge, client: SiteClient) -> None:
    response = await client.request("POST", "blue", "/upload", content=b"x" * 200_000)
    assert len(response.json()["body"]) == 200_000


async def test_the_admin_calls_of_a_gateway_are_refused_with_a_page(routed: RunningEdge, client: SiteClient) -> None:
    response = await client.get("blue", "/api/v1/admin/rpc")
    assert response.status_code == 403
    assert "not open to visitors" in response.text


async def test_plain_http_on_the_port_for_https_is_sent_to_https(routed: RunningEdge) -> None:
    port = routed.settings.https_port
    for host, expected in (("blue.claw.localhost", "301"), ("claw.localhost", "301"), ("evil.test", "400")):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /x?y=1 HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
        line, headers = head_of(answer)
        assert line.split()[1] == expected
        assert headers.count(HSTS) == 1
        assert "nginx/" not in answer
        if expected == "301":
            assert f"location: https://{host}:{port}/x?y=1\r\n" in headers
        else:
            assert "HTTPS only" in answer


async def test_one_connection_may_be_used_for_several_instances(routed: RunningEdge, client: SiteClient) -> None:
    """Browsers do so: the certificate covers both names, and they are at one address."""
    answer = await client.raw("blue", "GET /x HTTP/1.1\r\nHost: green.claw.localhost\r\nConnection: close\r\n\r\n")
    assert head_of(answer)[0].endswith("200 OK")
    assert '"Host": "green.claw.localhost"' in answer


async def test_the_instance_is_told_the_name_that_was_served(routed: RunningEdge, client: SiteClient) -> None:
    """An absolute request line beats Host, so a Host that says another name goes no further."""
    request = "GET https://green.claw.localhost/x HTTP/1.1\r\nHost: blue.claw.localhost:1\r\nConnection: close\r\n\r\n"
    assert '"Host": "green.claw.localhost:1"' in await client.raw("blue", request)


async def test_a_request_of_long_ago_without_a_name_reaches_no_instance(
    routed: RunningEdge, client: SiteClient, site: EchoSite
) -> None:
    answer = await client.raw("blue", "GET / HTTP/1.0\r\n\r\n")
    assert head_of(answer)[0].endswith("421 Misdirected Request")
    assert site.requests == []


async def test_http2_is_refused_with_the_same_pages(routed: RunningEdge, client: SiteClient) -> None:
    cases = {
        "evil.test": "421",
        "nobody.claw.localhost": "404",
        "green.claw.localhost": "200",
    }
    for host, status in cases.items():
        answer = await http2(routed, client, host)
        line, headers = head_of(answer)
        assert line.split() == ["HTTP/2", status], answer[:300]
        assert headers.count(HSTS) == 1
        assert headers.count("x-request-id: ") == 1


async def http2(edge: RunningEdge, client: SiteClient, host: str) -> str:
    """Ask for ``host`` over HTTP/2, on a connection made to the instance blue."""
    curl = shutil.which("curl")
    assert curl
    process = await asyncio.create_subprocess_exec(
        curl, "-si", "--http2", "--max-time", "10", "--cacert", str(edge.layout.tls / "ca.pem"),
        "--resolve", f"blue.claw.localhost:{client.port}:127.0.0.1", "-H", f"Host: {host}",
        f"https://blue.claw.localhost:{client.port}/",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    return output.decode(errors="replace").replace("\r\n", "\n").replace("\n", "\r\n")
