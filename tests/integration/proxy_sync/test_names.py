"""A name that an owner chose, from the API to the edge: taken, kept until nobody is sent there, and given away."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from clawstead_shared.events import Phase
from clawstead_shared.messaging import Bus
from tests.integration.proxy_sync.test_service import is_active
from tests.support.api import TOKEN
from tests.support.api_process import ApiProcess
from tests.support.factories import make_observed, observed_event
from tests.support.fake_provisioner import FakeProvisioner
from tests.support.nats_server import NatsServer
from tests.support.proxy_sync_process import ProxySyncProcess
from tests.support.site import EchoSite, SiteClient
from tests.support.wait import wait_until


@pytest.fixture
async def edge(tmp_path: Path, bus: Bus, nats_server: NatsServer) -> AsyncIterator[ProxySyncProcess]:
    """A proxy-sync in front of an API, both ready."""
    await FakeProvisioner(bus).publish_key()
    (tmp_path / "api-data").mkdir()
    api = ApiProcess(tmp_path / "api-data", nats_server.url)
    edge = ProxySyncProcess(tmp_path, nats_server, CLAWSTEAD_API_PORT=str(api.port))
    api.start()
    edge.start()
    try:
        await wait_until(api.ready, timeout=30)
        await edge.ready()
        yield edge
    finally:
        edge.stop()
        api.end()


async def test_a_name_is_given_away_once_no_visitor_is_sent_to_its_last_owner(
    bus: Bus, edge: ProxySyncProcess, site: EchoSite
) -> None:
    async with SiteClient(edge.directory / "tls" / "ca.pem", edge.https_port) as client:

        async def call(method: str, path: str, **options: object) -> httpx.Response:
            headers = {"Authorization": f"Bearer {TOKEN}"}
            return await client.request(method, None, f"/api/v1/instances{path}", headers=headers, **options)

        async def create() -> httpx.Response:
            return await call("POST", "", json={"name": "claw", "plan": "pro", "subdomain": "ada"})

        reserved = await call("POST", "", json={"name": "claw", "plan": "pro", "subdomain": "volatile"})
        assert (reserved.status_code, reserved.json()["errors"][0]["field"]) == (422, "subdomain")
        first = (await create()).json()["id"]
        assert (await create()).status_code == 409
        observed = make_observed(first, subdomain="ada", port=site.port)
        await bus.publish(observed_event(observed))
        await wait_until(lambda: is_active(bus, observed))
        assert (await client.get("ada")).status_code == 200
        edge.kill()
        await call("DELETE", f"/{first}")
        await bus.publish(observed_event(make_observed(first, subdomain="ada", phase=Phase.REMOVED, generation=2)))

        async def removed() -> bool:
            return (await call("GET", f"/{first}")).status_code == 404

        await wait_until(removed)
        assert (await client.get("ada")).status_code == 200, "nginx knows no better: visitors are still sent there"
        refused = await create()
        assert refused.status_code == 409
        assert "still has this subdomain" in refused.json()["errors"][0]["detail"]
        edge.start()
        await edge.ready()

        async def accepted() -> bool:
            return (await create()).status_code == 202

        await wait_until(accepted)
        assert (await client.get("ada")).status_code == 404
