"""The port ``Gateway`` over real HTTP: what a probe makes of every kind of answer."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from clawstead_health.adapters.gateway_http import HttpGateway
from tests.support.gateways import StubGateway
from tests.support.ports import free_port


@pytest.fixture
async def stub() -> AsyncIterator[StubGateway]:
    async with StubGateway() as stub:
        yield stub


def patient(seconds: float) -> HttpGateway:
    return HttpGateway(timeout=timedelta(seconds=seconds), keep=timedelta(seconds=30), concurrency=10)


@pytest.fixture
async def gateway() -> AsyncIterator[HttpGateway]:
    async with patient(5) as gateway:
        yield gateway


async def test_a_good_answer_is_ok_and_timed(gateway: HttpGateway, stub: StubGateway) -> None:
    result = await gateway.probe("127.0.0.1", stub.port, "/healthz")
    assert result.ok
    assert result.response_ms is not None
    assert 0 < result.response_ms < 5000


async def test_the_probe_names_a_client_that_is_not_loopback(gateway: HttpGateway, stub: StubGateway) -> None:
    await gateway.probe("127.0.0.1", stub.port, "/startupz")
    path, headers = stub.requests[0]
    assert path == "/startupz"
    assert headers["X-Forwarded-For"] == "192.0.2.1"


@pytest.mark.parametrize("status", [204, 302, 403, 503])
async def test_any_other_status_fails_and_is_named(gateway: HttpGateway, stub: StubGateway, status: int) -> None:
    stub.status = status
    result = await gateway.probe("127.0.0.1", stub.port, "/healthz")
    assert result.error == f"HTTP {status}"
    assert result.response_ms is not None


async def test_a_closed_port_fails(gateway: HttpGateway) -> None:
    result = await gateway.probe("127.0.0.1", free_port(), "/healthz")
    assert result.error == "connection refused"
    assert result.response_ms is None


async def test_a_silent_gateway_fails_within_the_timeout(stub: StubGateway) -> None:
    stub.hang = True
    async with asyncio.timeout(10), patient(0.3) as gateway:
        result = await gateway.probe("127.0.0.1", stub.port, "/healthz")
    assert result.error == "no answer within 0.3 s"


async def test_a_body_that_never_ends_does_not_hold_the_probe_up(gateway: HttpGateway, stub: StubGateway) -> None:
    stub.body = b"x" * 5_000_000
    assert (await gateway.probe("127.0.0.1", stub.port, "/healthz")).ok


async def test_what_is_not_http_fails(gateway: HttpGateway) -> None:
    async def garbage(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x00\x01 hello\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(garbage, "127.0.0.1", 0)
    try:
        result = await gateway.probe("127.0.0.1", server.sockets[0].getsockname()[1], "/healthz")
    finally:
        server.close()
    assert not result.ok


async def test_the_connection_is_kept_between_probes(gateway: HttpGateway, stub: StubGateway) -> None:
    for _ in range(5):
        assert (await gateway.probe("127.0.0.1", stub.port, "/healthz")).ok
    assert stub.peers == 1


async def test_many_probes_at_once_all_end(gateway: HttpGateway) -> None:
    async with contextlib.AsyncExitStack() as stack:
        stubs = [await stack.enter_async_context(StubGateway()) for _ in range(30)]
        results = await asyncio.gather(*(gateway.probe("127.0.0.1", stub.port, "/healthz") for stub in stubs))
    assert all(result.ok for result in results)
