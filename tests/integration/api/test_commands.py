"""Start, stop, restart, delete: what each asks of the bus, and that repeating is harmless."""

from datetime import UTC, datetime

import httpx
import pytest

from clawstead_shared.events import DesiredState, EventType, Phase
from tests.support.api import Api


@pytest.fixture
async def instance_id(client: httpx.AsyncClient) -> str:
    response = await client.post("/instances", json={"name": "claw", "plan": "pro"})
    instance_id: str = response.json()["id"]
    return instance_id


async def asked(api: Api, instance_id: str) -> list[tuple[EventType, int, DesiredState]]:
    await api.settle()
    return [(event.type, event.data.generation, event.data.desired_state) for event in api.desired(instance_id)][1:]


async def test_stop_and_start_each_make_one_generation(api: Api, client: httpx.AsyncClient, instance_id: str) -> None:
    for command in ("stop", "stop", "start", "start"):
        response = await client.post(f"/instances/{instance_id}/{command}")
        assert response.status_code == 202
        assert response.headers["Location"] == f"/api/v1/instances/{instance_id}"
    assert await asked(api, instance_id) == [
        (EventType.STOP_REQUESTED, 2, DesiredState.STOPPED),
        (EventType.START_REQUESTED, 3, DesiredState.RUNNING),
    ]


async def test_a_restart_names_the_start_that_was_seen(api: Api, client: httpx.AsyncClient, instance_id: str) -> None:
    started_at = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
    await api.observe(instance_id, Phase.RUNNING, started_at=started_at)
    for count in (1, 2):
        assert (await client.post(f"/instances/{instance_id}/restart")).status_code == 202
        await api.settle()
        restart = api.desired(instance_id)[-1].data.restart
        assert (restart.count, restart.judged_start) == (count, started_at)
    await client.post(f"/instances/{instance_id}/stop")
    await api.settle()
    assert api.desired(instance_id)[-1].data.restart == restart, "a snapshot carries it on"


async def test_a_stopped_instance_is_not_restarted(api: Api, client: httpx.AsyncClient, instance_id: str) -> None:
    await client.post(f"/instances/{instance_id}/stop")
    response = await client.post(f"/instances/{instance_id}/restart")
    assert response.status_code == 409
    assert response.json()["type"] == "urn:clawstead:problem:command-refused"
    assert len(await asked(api, instance_id)) == 1


async def test_starting_a_failed_instance_tries_again(api: Api, client: httpx.AsyncClient, instance_id: str) -> None:
    await api.observe(instance_id, Phase.FAILED, reason="crash_loop")
    assert (await client.post(f"/instances/{instance_id}/start")).json()["generation"] == 2
    assert await asked(api, instance_id) == [(EventType.START_REQUESTED, 2, DesiredState.RUNNING)]


async def test_deleting_is_final_and_ends_in_404(api: Api, client: httpx.AsyncClient, instance_id: str) -> None:
    path = f"/instances/{instance_id}"
    for _ in range(2):
        response = await client.delete(path)
        assert (response.status_code, response.json()["desired_state"]) == (202, "deleted")
    for command in ("start", "stop", "restart", "update", "rotate-token"):
        assert (await client.post(f"{path}/{command}")).status_code == 409
    assert (await client.patch(path, json={"name": "late"})).status_code == 409
    assert await asked(api, instance_id) == [(EventType.DELETE_REQUESTED, 2, DesiredState.DELETED)]
    assert instance_id in api.buckets.secrets

    await api.observe(instance_id, Phase.REMOVED, generation=2, host=None, port=None)
    assert (await client.get(path)).status_code == 404
    assert (await client.delete(path)).status_code == 404
    assert (await client.get("/instances")).json()["items"] == []
    assert api.buckets.secrets == {}
    assert len(await asked(api, instance_id)) == 1


async def test_a_removal_that_nobody_asked_for_buries_nothing(
    api: Api, client: httpx.AsyncClient, instance_id: str
) -> None:
    await api.observe(instance_id, Phase.REMOVED, host=None, port=None)
    assert (await client.get(f"/instances/{instance_id}")).json()["phase"] == "removed"
    assert instance_id in api.buckets.secrets


async def test_a_forced_deletion_rids_the_owner_at_once(api: Api, client: httpx.AsyncClient) -> None:
    body = {"name": "claw", "plan": "pro", "subdomain": "ada"}
    instance_id = (await client.post("/instances", json=body)).json()["id"]
    path = f"/instances/{instance_id}"
    response = await client.delete(path, params={"force": "true"})
    assert (response.status_code, response.json()["desired_state"]) == (202, "deleted")
    for method, suffix in [("GET", ""), ("DELETE", "?force=true"), ("POST", "/start"), ("GET", "/events")]:
        assert (await client.request(method, path + suffix)).status_code == 404
    assert (await client.get("/instances")).json()["items"] == []
    await api.settle()
    event = api.desired(instance_id)[-1]
    assert (event.type, event.data.generation) == (EventType.DELETE_REQUESTED, 2)
    assert (event.data.desired_state, event.data.force) == (DesiredState.DELETED, True)

    assert (await client.post("/instances", json=body)).status_code == 409, "what is left may still answer to the name"
    await api.observe(instance_id, Phase.REMOVED, generation=2, reason="leftovers", host=None, port=None)
    assert api.buckets.secrets == {}
    assert (await client.post("/instances", json=body)).status_code == 202


async def test_a_deletion_that_hangs_can_be_forced(api: Api, client: httpx.AsyncClient, instance_id: str) -> None:
    await client.delete(f"/instances/{instance_id}")
    await api.observe(instance_id, Phase.DELETING, generation=2)
    assert (await client.delete(f"/instances/{instance_id}?force=true")).status_code == 202
    await api.settle()
    assert [(event.data.generation, event.data.force) for event in api.desired(instance_id)[1:]] == [
        (2, False),
        (3, True),
    ]


async def test_a_forced_deletion_waits_for_no_bus(api: Api, client: httpx.AsyncClient, instance_id: str) -> None:
    await api.settle()
    api.bus.available = api.buckets.available = False
    assert (await client.delete(f"/instances/{instance_id}?force=true")).status_code == 202
    assert (await client.get(f"/instances/{instance_id}")).status_code == 404
    api.bus.available = api.buckets.available = True
    await api.settle()
    assert api.desired(instance_id)[-1].data.force
