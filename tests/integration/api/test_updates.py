"""Updates: which image is asked for, what the owner sees of it, and what the history keeps."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from clawstead_shared.events import (
    DesiredState,
    EventType,
    ImageVersion,
    Phase,
    Progress,
    Reason,
    RejectedImage,
    Warning,
    WarningCode,
)
from tests.support.api import Api
from tests.support.factories import make_observed, observed_event

CREATE = {"name": "claw", "plan": "pro"}


@pytest.fixture
async def instance_id(api: Api, client: httpx.AsyncClient) -> str:
    instance_id: str = (await client.post("/instances", json=CREATE)).json()["id"]
    await api.observe(instance_id, Phase.RUNNING)
    return instance_id


async def updated(api: Api, client: httpx.AsyncClient, instance_id: str, body: object = None) -> tuple[str, int, bool]:
    """Ask for an update, and return what the bus was told of the image."""
    response = await client.post(f"/instances/{instance_id}/update", json=body)
    assert response.status_code == 202, response.text
    await api.settle()
    event = api.desired(instance_id)[-1]
    assert event.type is EventType.UPDATE_REQUESTED
    assert event.data.generation == response.json()["generation"]
    return event.data.spec.image, event.data.spec.image_revision, event.data.spec.image_forced


async def test_an_update_follows_the_platform_until_the_owner_names_an_image(
    api: Api, client: httpx.AsyncClient, instance_id: str
) -> None:
    assert await updated(api, client, instance_id) == ("openclaw:local", 1, False)
    api.desk = api.app.state.desk = replace(api.desk, image="openclaw:next")
    assert await updated(api, client, instance_id, {}) == ("openclaw:next", 2, False)
    assert await updated(api, client, instance_id, {"image": "own:1", "force": True}) == ("own:1", 3, True)
    assert await updated(api, client, instance_id) == ("own:1", 4, False), "the owner's image stays"
    assert await updated(api, client, instance_id, {"image": None}) == ("openclaw:next", 5, False)


async def test_an_image_named_at_creation_is_kept(api: Api, client: httpx.AsyncClient) -> None:
    instance_id = (await client.post("/instances", json={**CREATE, "image": "own:1"})).json()["id"]
    assert await updated(api, client, instance_id) == ("own:1", 1, False)


async def test_later_changes_carry_the_update_on(api: Api, client: httpx.AsyncClient, instance_id: str) -> None:
    await updated(api, client, instance_id, {"image": "own:1", "force": True})
    await client.patch(f"/instances/{instance_id}", json={"plan": "enterprise"})
    await client.post(f"/instances/{instance_id}/restart")
    await api.settle()
    spec = api.desired(instance_id)[-1].data.spec
    assert (spec.image, spec.image_revision, spec.image_forced) == ("own:1", 1, True)


async def test_a_stopped_instance_is_updated_at_its_next_start_and_a_deleted_one_never(
    api: Api, client: httpx.AsyncClient, instance_id: str
) -> None:
    await client.post(f"/instances/{instance_id}/stop")
    assert await updated(api, client, instance_id, {"image": "own:1"}) == ("own:1", 1, False)
    assert api.desired(instance_id)[-1].data.desired_state is DesiredState.STOPPED
    await client.delete(f"/instances/{instance_id}")
    assert (await client.post(f"/instances/{instance_id}/update")).status_code == 409


async def test_an_update_repeated_with_its_key_is_one(api: Api, client: httpx.AsyncClient, instance_id: str) -> None:
    headers = {"Idempotency-Key": "u-1"}
    path = f"/instances/{instance_id}/update"
    answers = [await client.post(path, headers=headers) for _ in range(2)]
    assert [answer.json()["image_revision"] for answer in answers] == [1, 1]
    other = await client.post(path, json={"force": True}, headers=headers)
    assert other.json()["type"] == "urn:clawstead:problem:idempotency-key-reused"
    await api.settle()
    assert len(api.desired(instance_id)) == 2


@pytest.mark.parametrize("body", [{"image": "A b"}, {"force": "perhaps"}, {"tag": "x"}, []])
async def test_a_bad_update_is_refused(client: httpx.AsyncClient, instance_id: str, body: object) -> None:
    assert (await client.post(f"/instances/{instance_id}/update", json=body)).status_code == 422


async def test_the_owner_sees_what_runs_what_was_rejected_and_what_to_look_after(
    api: Api, client: httpx.AsyncClient, instance_id: str
) -> None:
    await updated(api, client, instance_id, {"image": "own:1"})
    running = ImageVersion(reference="openclaw:local", digest="sha256:good")
    rejected = RejectedImage(reference="own:1", revision=1, digest="sha256:bad", message="exit 78: bad config")
    warning = Warning(code=WarningCode.MEMORY_BELOW_MINIMUM, message="too little")
    fields = {"generation": 2, "reason": Reason.UPDATE_ROLLED_BACK, "image": running, "rejected": rejected}
    await api.observe(instance_id, Phase.RUNNING, **fields, warnings=(warning,))
    shown = (await client.get(f"/instances/{instance_id}")).json()
    assert (shown["image"], shown["image_revision"], shown["reason"]) == ("own:1", 1, "update_rolled_back")
    assert shown["running_image"] == running.model_dump()
    assert shown["rejected_image"] == rejected.model_dump()
    assert shown["warnings"] == [warning.model_dump()]
    newest = (await client.get(f"/instances/{instance_id}/events")).json()["items"][0]
    assert (newest["image"], newest["rejected"]) == (running.model_dump(), rejected.model_dump())
    assert newest["warnings"] == [warning.model_dump()]


async def test_the_history_keeps_the_newest_progress_of_each_generation(
    api: Api, client: httpx.AsyncClient, instance_id: str
) -> None:
    for generation in (2, 3):
        for percent in range(0, 101, 20):
            progress = Progress(step="pulling", percent=percent)
            await api.observe(instance_id, Phase.RUNNING, generation=generation, progress=progress)
    shown = (await client.get(f"/instances/{instance_id}")).json()
    assert shown["progress"] == {"step": "pulling", "percent": 100}
    items = (await client.get(f"/instances/{instance_id}/events")).json()["items"]
    progressed = [item for item in items if item["type"] == "clawstead.instance.progressed"]
    assert [(item["generation"], item["progress"]["percent"]) for item in progressed] == [(3, 100), (2, 100)]


async def test_progress_that_comes_again_later_does_not_replace_newer(
    api: Api, client: httpx.AsyncClient, instance_id: str
) -> None:
    for percent in (10, 20):
        progress = Progress(step="pulling", percent=percent)
        await api.observe(instance_id, Phase.RUNNING, generation=2, progress=progress)
    for event in list(api.bus.events):
        await api.projector.take_in(event)
    items = (await client.get(f"/instances/{instance_id}/events")).json()["items"]
    assert [item["progress"]["percent"] for item in items if item.get("progress")] == [20]


async def test_an_instance_that_stays_on_its_way_shows_as_stalled(
    api: Api, client: httpx.AsyncClient, instance_id: str
) -> None:
    observed = make_observed(instance_id, phase=Phase.UPDATING)
    begun = datetime.now(UTC) - timedelta(hours=1)
    await api.report(replace(observed_event(observed), time=begun))
    shown = (await client.get(f"/instances/{instance_id}")).json()
    assert shown["stalled"] is True
    assert "force=true" in shown["stalled_hint"]
    await api.report(observed_event(observed))
    assert (await client.get(f"/instances/{instance_id}")).json()["stalled"], "the same again is no step forward"
    await api.observe(instance_id, Phase.RUNNING)
    shown = (await client.get(f"/instances/{instance_id}")).json()
    assert (shown["stalled"], shown["stalled_hint"]) == (False, None)
