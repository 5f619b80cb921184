"""Another configuration, as with a renewed certificate, while routes come and go and while the disk fails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from clawstead_proxy_sync.nginx_conf import NginxConfig, revision
from clawstead_proxy_sync.nginx_map import Upstream
from tests.integration.proxy_sync.conftest import RunningEdge, each_way
from tests.support.wait import wait_until

pytestmark = each_way


@pytest.fixture
def another(running_edge: RunningEdge) -> NginxConfig:
    """A configuration that differs as one with a renewed certificate does."""
    return replace(running_edge.edge.config, certificate_digest="renewed")


@asynccontextmanager
async def routes_that_come_and_go(it: RunningEdge, upstream: Upstream) -> AsyncIterator[list[str]]:
    changed: list[str] = []

    async def change() -> None:
        while True:
            label = f"i{len(changed)}"
            await it.edge.lead(label, upstream)
            changed.append(label)
            await asyncio.sleep(0.005)

    task = asyncio.create_task(change())
    try:
        yield changed
    finally:
        task.cancel()
        await asyncio.wait({task})


async def is_served(it: RunningEdge, config: NginxConfig) -> bool:
    return (await it.edge._daemon.serving()).revision == revision(config)


async def test_it_is_taken_over_while_routes_come_and_go(
    running_edge: RunningEdge, upstream: Upstream, another: NginxConfig
) -> None:
    async with routes_that_come_and_go(running_edge, upstream) as changed:
        await running_edge.edge.reconfigure(another)
        before = len(changed)
        await wait_until(lambda: len(changed) > before + 2, what="routes that change on")
    assert await is_served(running_edge, another)


async def test_one_that_could_not_be_stored_is_taken_over_when_it_can_be(
    running_edge: RunningEdge, another: NginxConfig
) -> None:
    edge, candidate = running_edge.edge, running_edge.layout.candidate_config
    candidate.unlink(missing_ok=True)
    candidate.mkdir()
    with pytest.raises(IsADirectoryError):
        await edge.reconfigure(another)
    candidate.rmdir()
    await edge.reconfigure(another)
    assert await is_served(running_edge, another)


async def test_a_table_that_waits_for_it_takes_no_newer_line_back(
    running_edge: RunningEdge, routing: str, upstream: Upstream, another: NginxConfig
) -> None:
    edge = running_edge.edge
    await edge.publish({"old": upstream})
    reconfiguring = asyncio.create_task(edge.reconfigure(another))
    publishing = asyncio.create_task(edge.publish({"old": upstream, "more": upstream}))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    led = await edge.lead("new", upstream)
    await asyncio.gather(reconfiguring, publishing)
    assert led == (routing == "live")
    assert edge.served
    assert set(edge.served.routes) == {"old", "more"} | ({"new"} if led else set())
