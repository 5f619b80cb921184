"""The health monitor as a process: a real bus, real HTTP, SQLite."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from clawstead_shared import topology
from clawstead_shared.events import Event, Health, Observed, Phase, Verdict, encode
from clawstead_shared.ids import new_instance_id
from clawstead_shared.messaging import Bus
from clawstead_shared.streams import DEAD_LETTER_STREAM, HEALTH, STATE_STREAM
from clawstead_shared.subjects import Topic, subject_of
from tests.support.factories import make_observed, observed_event
from tests.support.gateways import StubGateway
from tests.support.nats_server import NatsServer
from tests.support.ports import free_port
from tests.support.replaying import rebuild, replay
from tests.support.wait import wait_until


class HealthProcess:
    """One process of the service; its data outlives it."""

    def __init__(self, nats_url: str, data_dir: Path) -> None:
        self.port = free_port()
        self.data_dir = data_dir
        self._environment = {
            **os.environ,
            "CLAWSTEAD_NATS_URL": nats_url,
            "CLAWSTEAD_DATA_DIR": str(data_dir),
            "CLAWSTEAD_HEALTH_PORT": str(self.port),
            "CLAWSTEAD_PROBE_INTERVAL": "0.3",
            "CLAWSTEAD_PROBE_INTERVAL_STARTING": "0.1",
            "CLAWSTEAD_PROBE_TIMEOUT": "0.2",
        }
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "clawstead_health", env=self._environment
        )
        await wait_until(self._ready, timeout=20, what="ready")

    async def _ready(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return b" 200 " in answer.split(b"\r\n")[0]

    async def end(self, number: signal.Signals) -> int:
        assert self.process
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 20)

    def rows(self) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.data_dir / "health" / "health.db")) as database:
            return database.execute("SELECT instance_id, customer_id, healthy FROM instance_health").fetchall()


@pytest.fixture
async def service(bus: Bus, nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[HealthProcess]:
    service = HealthProcess(nats_server.url, tmp_path / "data")
    await service.start()
    yield service
    await service.end(signal.SIGKILL)


@pytest.fixture
async def stub() -> AsyncIterator[StubGateway]:
    async with StubGateway() as stub:
        yield stub


def running(stub: StubGateway, instance_id: str | None = None, **overrides: Any) -> Event[Observed]:
    defaults = {
        "port": stub.port,
        "container_id": "c1",
        "started_at": datetime.now(UTC),
        "owner_id": "owner-1",
        "boot_grace_seconds": 0.5,
    }
    return observed_event(make_observed(instance_id, **{**defaults, **overrides}))


async def verdict(bus: Bus, instance_id: str) -> Verdict | None:
    event = await bus.newest(Topic.HEALTH, instance_id)
    return cast("Health", event.data).verdict if event else None


async def reached(bus: Bus, instance_id: str, wanted: Verdict) -> None:
    async def there() -> bool:
        return await verdict(bus, instance_id) is wanted

    await wait_until(there, what=wanted)


async def verdicts_published(bus: Bus, instance_id: str) -> int:
    subject = subject_of(Topic.HEALTH, instance_id)
    info = await bus.jetstream.stream_info(STATE_STREAM, subjects_filter=subject)
    return (info.state.subjects or {}).get(subject, 0)


async def test_an_instance_is_followed_from_its_start_through_an_outage_to_its_end(
    bus: Bus, service: HealthProcess, stub: StubGateway
) -> None:
    event = running(stub)
    instance_id = event.instance_id
    await bus.publish(event)
    await reached(bus, instance_id, Verdict.HEALTHY)
    stub.status = 503
    await reached(bus, instance_id, Verdict.UNHEALTHY)
    stub.status = 200
    await reached(bus, instance_id, Verdict.HEALTHY)
    await bus.publish(running(stub, instance_id, phase=Phase.STOPPED))
    await reached(bus, instance_id, Verdict.STOPPED)
    assert await verdicts_published(bus, instance_id) in {4, 5}, "starting may be skipped; nothing is repeated"
    await wait_until(lambda: len(service.rows()) >= 3)
    assert {row[:2] for row in service.rows()} == {(instance_id, "owner-1")}
    assert {bool(row[2]) for row in service.rows()} == {True, False}


async def test_the_verdict_continues_the_trace_of_the_observation(
    bus: Bus, service: HealthProcess, stub: StubGateway
) -> None:
    event = running(stub)
    headers, body = encode(event)
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    await bus.jetstream.publish(
        event.subject, body, headers={**headers, "traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    )
    await reached(bus, event.instance_id, Verdict.HEALTHY)
    health = await bus.newest(Topic.HEALTH, event.instance_id)
    assert health
    assert health.traceparent
    assert health.traceparent.split("-")[1] == trace_id


async def test_killed_and_restarted_it_goes_on_without_repeating_itself(
    bus: Bus, service: HealthProcess, stub: StubGateway
) -> None:
    event = running(stub)
    await bus.publish(event)
    await reached(bus, event.instance_id, Verdict.HEALTHY)
    told = await verdicts_published(bus, event.instance_id)
    await service.end(signal.SIGKILL)
    asked = len(stub.requests)
    await service.start()
    await wait_until(lambda: len(stub.requests) > asked + 1)
    assert stub.requests[-1][0] == "/healthz", "it did not take the instance for a fresh start"
    assert await verdicts_published(bus, event.instance_id) == told


async def test_poison_is_set_aside_and_the_others_go_on(bus: Bus, service: HealthProcess, stub: StubGateway) -> None:
    await bus.jetstream.publish(subject_of(Topic.OBSERVED, new_instance_id()), b"poison")
    event = running(stub)
    await bus.publish(event)
    await reached(bus, event.instance_id, Verdict.HEALTHY)

    async def dead_letters() -> int:
        return (await bus.jetstream.stream_info(DEAD_LETTER_STREAM)).state.messages

    assert await wait_until(dead_letters) == 1

    async def settled() -> bool:
        info = await bus.jetstream.consumer_info(STATE_STREAM, HEALTH.durable)
        return bool(info.num_pending == 0 and info.num_ack_pending == 0)

    await wait_until(settled)


async def test_told_to_stop_it_stores_what_it_saw_and_ends_well(
    bus: Bus, service: HealthProcess, stub: StubGateway
) -> None:
    event = running(stub)
    await bus.publish(event)
    await reached(bus, event.instance_id, Verdict.HEALTHY)
    assert await service.end(signal.SIGTERM) == 0
    assert (event.instance_id, "owner-1", 1) in service.rows()


async def test_the_bus_may_go_away_and_come_back(
    bus: Bus, nats_server: NatsServer, service: HealthProcess, stub: StubGateway
) -> None:
    event = running(stub)
    await bus.publish(event)
    await reached(bus, event.instance_id, Verdict.HEALTHY)
    nats_server.kill()
    stub.status = 503
    await asyncio.sleep(1.5)
    nats_server.start()
    await wait_until(lambda: bus.connected)
    await reached(bus, event.instance_id, Verdict.UNHEALTHY)


async def test_replay_redelivery_rebuild_and_a_lost_log_repeat_no_verdict(
    bus: Bus, nats_server: NatsServer, service: HealthProcess, stub: StubGateway
) -> None:
    event, gone = running(stub), running(stub)
    for observed in (event, gone):
        await bus.publish(observed)
        await reached(bus, observed.instance_id, Verdict.HEALTHY)
    await bus.publish(running(stub, gone.instance_id, phase=Phase.REMOVED))
    await reached(bus, gone.instance_id, Verdict.STOPPED)
    last = await bus.log.last_sequence()
    assert await replay(bus, "health", dry_run=True) == ([], [])
    assert await replay(bus, "health") == ([], [])
    first, second = await rebuild(bus, "health"), await rebuild(bus, "health")
    assert (first.before, first.after, first.entries) == (first.after, second.after, 1)
    await bus.jetstream.delete_consumer(STATE_STREAM, HEALTH.durable)
    await topology.apply(bus.jetstream)

    async def redelivered() -> bool:
        info = await bus.jetstream.consumer_info(STATE_STREAM, HEALTH.durable)
        return bool(info.num_pending == 0 and info.num_ack_pending == 0)

    await wait_until(redelivered, timeout=20)
    assert await bus.log.last_sequence() == last
    await asyncio.to_thread(nats_server.lose_store)
    await wait_until(lambda: bus.connected)
    await topology.apply(bus.jetstream)
    await reached(bus, event.instance_id, Verdict.HEALTHY)
    await bus.publish(event)
    stub.status = 503
    await reached(bus, event.instance_id, Verdict.UNHEALTHY)
    assert await verdicts_published(bus, event.instance_id) == 2
