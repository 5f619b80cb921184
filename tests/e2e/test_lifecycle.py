"""The main job, end to end, with the stand-in gateway: every service, nginx, Docker and the bus are real."""

import asyncio
from itertools import groupby

from tests.e2e.engine import Engine
from tests.e2e.operations import Operations
from tests.e2e.platform import Platform
from tests.e2e.spans import SpanCollector
from tests.e2e.sse import Message, read_until
from tests.e2e.terminal import Terminal
from tests.support.wait import wait_until


async def test_an_instance_lives_its_whole_life(operations: Operations, engine: Engine) -> None:
    instance_id = await operations.create(name="whole life")
    running = await operations.reached(instance_id, "running")
    await operations.serves(instance_id, 200)
    assert running["url"] == operations.url(instance_id)
    port, container_id = running["port"], engine.container(instance_id).id
    marker = operations.platform.data_dir / "instances" / instance_id / "workspace" / "kept.txt"
    marker.write_text("kept")

    await operations.command(instance_id, "stop")
    await operations.reached(instance_id, "stopped")
    await operations.serves(instance_id, 503, "stopped")
    await operations.command(instance_id, "start")
    assert (await operations.reached(instance_id, "running"))["port"] == port
    await operations.serves(instance_id, 200)
    assert marker.read_text() == "kept"

    started_at = engine.container(instance_id).attrs["State"]["StartedAt"]
    await operations.command(instance_id, "restart")
    await operations.reached(instance_id, "running")
    await wait_until(lambda: engine.container(instance_id).attrs["State"]["StartedAt"] != started_at)
    await operations.serves(instance_id, 200)

    engine.container(instance_id).kill()
    await wait_until(lambda: engine.container(instance_id).status == "running", timeout=30)
    await operations.serves(instance_id, 200)
    assert engine.container(instance_id).id == container_id

    await operations.command(instance_id, "delete")
    await operations.gone(instance_id)


async def test_each_phase_is_streamed_and_a_cut_stream_resumes(operations: Operations) -> None:
    instance_id = await operations.create()

    def running(messages: list[Message]) -> bool:
        return any(message.data.get("phase") == "running" for message in messages)

    messages = await read_until(operations.client, f"/instances/{instance_id}/events/stream", running)
    # A start that takes longer says "starting" twice: when it is asked for, and once the container runs.
    phases = [phase for phase, _ in groupby(message.data["phase"] for message in messages if "phase" in message.data)]
    assert phases == ["provisioning", "starting", "running"]
    ids = [message.id for message in messages]
    assert ids == sorted(set(ids))

    resumed = await read_until(
        operations.client, f"/instances/{instance_id}/events/stream", running, last_id=messages[0].id
    )
    assert [message.id for message in resumed] == [id_ for id_ in ids if id_ > ids[0]]


async def test_health_is_seen_within_the_boot_grace(operations: Operations) -> None:
    instance_id = await operations.create()

    async def healthy() -> bool:
        health = (await operations.client.instance(instance_id)).get("health")
        return health is not None and health["verdict"] == "healthy"

    await wait_until(healthy, timeout=45, what="healthy")


async def test_a_shell_opens_in_the_browser_terminal_and_leaves_nothing(operations: Operations, engine: Engine) -> None:
    instance_id = await operations.create()
    await operations.reached(instance_id, "running")
    before = len(engine.container(instance_id).top()["Processes"])
    terminal = await Terminal.open(operations, instance_id)
    assert "clawstead-42" in await terminal.run("echo clawstead-$((6 * 7))", "clawstead-42")
    await terminal.close()
    await wait_until(lambda: len(engine.container(instance_id).top()["Processes"]) == before, timeout=5)


async def test_one_trace_links_request_container_route_and_health(operations: Operations, spans: SpanCollector) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e" + "%04x" % (id(operations) % 65536)
    response = await operations.client.api(
        "POST",
        "/instances",
        json={"name": "traced", "plan": "pro"},
        headers={"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"},
    )
    assert response.status_code == 202
    operations.adopt(response.json()["id"])
    wanted = {"api", "provisioner", "proxy-sync", "health"}
    await wait_until(lambda: wanted <= spans.services_of(trace_id), timeout=60, what="spans of four services")


async def test_many_instances_at_once_do_not_get_in_each_others_way(operations: Operations, engine: Engine) -> None:
    ids = await asyncio.gather(*(operations.create(name=f"crowd {number}") for number in range(6)))
    await asyncio.gather(*(operations.reached(instance_id, "running") for instance_id in ids))
    await asyncio.gather(*(operations.serves(instance_id, 200) for instance_id in ids))
    ports = {(await operations.client.instance(instance_id))["port"] for instance_id in ids}
    assert len(ports) == len(ids)
    for instance_id in ids:
        engine.container(instance_id)


async def test_bad_requests_are_refused_at_the_edge_and_nothing_is_made(
    operations: Operations, platform: Platform
) -> None:
    client = operations.client
    before = (await client.api("GET", "/instances")).json()
    for status, field, body in [
        (422, "plan", {"name": "x", "plan": "gold"}),
        (422, "bot_token", {"name": "x", "plan": "pro", "channel": "telegram"}),
        (422, "api_key", {"name": "x", "plan": "pro", "ai_provider": "anthropic"}),
        (422, "subdomain", {"name": "x", "plan": "pro", "subdomain": "a.b"}),
        (422, "subdomain", {"name": "x", "plan": "pro", "subdomain": "ä" * 64}),
    ]:
        response = await client.api("POST", "/instances", json=body)
        assert response.status_code == status, response.text
        assert response.headers["content-type"].startswith("application/problem+json")
        assert field in response.text
    assert (await client.api("POST", "/instances", content=b"{nope")).status_code in {400, 422}
    assert (await client.api("POST", "/instances", content=b"x" * 70_000)).status_code == 413
    for bad in ["a.b", "..%2Fetc", "a%0Ab", "x" * 65, "%C3%A4", "01arz3ndektsv4rrffq69g5fav"]:
        response = await client.api("GET", f"/instances/{bad}")
        assert response.status_code in {404, 422}, bad
        assert response.headers["content-type"].startswith("application/problem+json"), bad
    async with platform.client(token="wrong") as stranger:
        assert (await stranger.api("GET", "/instances")).status_code == 401
    async with platform.client(token=None) as nobody:
        assert (await nobody.api("GET", "/instances")).status_code == 401
    assert (await client.api("GET", "/instances")).json() == before
