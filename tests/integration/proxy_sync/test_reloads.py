"""What becomes of open connections when nginx is reloaded, again and again."""

import asyncio
import contextlib
from pathlib import Path

from clawstead_proxy_sync.nginx_map import Upstream
from tests.integration.proxy_sync.conftest import RunningEdge, is_live, make_settings, map_only, running, socket_of
from tests.support.site import EchoSite, SiteClient
from tests.support.wait import wait_until


@map_only
async def test_connections_live_through_reloads(
    running_edge: RunningEdge, client: SiteClient, upstream: Upstream
) -> None:
    running_edge.edge.open_gate("blue")
    await running_edge.edge.publish({"blue": upstream})
    async with socket_of(client) as ws:
        await ws.recv()
        for number in range(3):
            await running_edge.edge.publish({"blue": upstream, f"other{number}": upstream})
            assert await is_live(ws, f"after reload {number}")
        await wait_until(lambda: running_edge.edge.draining == 1)
    await wait_until(lambda: running_edge.edge.draining == 0)


async def test_of_too_many_replaced_workers_the_oldest_are_ended(
    tmp_path: Path, site: EchoSite, upstream: Upstream
) -> None:
    settings = make_settings(tmp_path, edge_routing="map", edge_workers=1, edge_drain_workers=2)
    async for it in running(settings):
        it.edge.open_gate("blue")
        await it.edge.publish({"blue": upstream})
        async with contextlib.AsyncExitStack() as stack:
            client = await stack.enter_async_context(SiteClient(it.layout.tls / "ca.pem", settings.https_port))
            sockets = []
            assert not it.edge.crowded
            for number in range(4):
                sockets.append(ws := await stack.enter_async_context(socket_of(client)))
                await ws.recv()
                await it.edge.publish({"blue": upstream, f"other{number}": upstream})
            for lost in sockets[:2]:
                await asyncio.wait_for(lost.wait_closed(), 10)
            assert [await is_live(ws, "still here") for ws in sockets[2:]] == [True, True]
            assert it.edge.draining == 2
            assert it.edge.crowded
