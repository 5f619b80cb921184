"""A connection's life, with client, containers, bus and journal in memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, cast

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from clawstead_shared.events import EventType, Phase, Terminal
from clawstead_shared.ids import new_instance_id
from clawstead_shared.subjects import Topic
from clawstead_shared.tickets import Purpose
from clawstead_terminal import gateway
from clawstead_terminal.custody import Custody
from clawstead_terminal.gateway import Gateway, Rules
from clawstead_terminal.pump import Patience
from clawstead_terminal.sessions import Sessions
from clawstead_terminal.subscribers import recheck
from clawstead_terminal.tickets import TicketOffice
from tests.support import jumping_clock
from tests.support.factories import make_observed, observed_event
from tests.support.fake_bus import FakeBus
from tests.support.tickets import TicketSigner
from tests.support.wait import wait_until
from tests.unit.terminal.fakes import FakeClient, FakeContainers, FakeJournal, FakeShell, FakeVault

SIGNER = TicketSigner()


class Stage:
    """A gateway and all that it touches."""

    def __init__(self, **patience: float) -> None:
        self.instance_id = new_instance_id()
        self.bus = FakeBus()
        self.containers = FakeContainers()
        self.journal = FakeJournal()
        self.sessions = Sessions()
        self.custody = Custody(self.journal, self.containers, self.bus, self.sessions)
        limits = {"idle": 60.0, "total": 60.0, **patience}
        self.gateway = Gateway(
            bus=self.bus,
            office=TicketOffice(FakeVault(SIGNER.public_pem)),
            containers=self.containers,
            custody=self.custody,
            sessions=self.sessions,
            rules=Rules(
                auth_timeout=timedelta(seconds=0.05),
                dashboard_timeout=timedelta(seconds=0.05),
                patience=Patience(timedelta(seconds=limits["idle"]), timedelta(seconds=limits["total"])),
                sessions_per_instance=2,
                origin_of=lambda subdomain: f"https://{subdomain}.test",
            ),
        )

    async def observe(self, **overrides: Any) -> None:
        defaults = {"container_id": "c1", "subdomain": "mine"}
        await self.bus.publish(observed_event(make_observed(self.instance_id, **{**defaults, **overrides})))

    def auth(self, purpose: Purpose = Purpose.TERMINAL, **fields: Any) -> dict[str, Any]:
        return {"type": "auth", "ticket": SIGNER.sign(self.instance_id, purpose=purpose), **fields}

    @contextlib.asynccontextmanager
    async def session(self, **size: Any) -> AsyncIterator[tuple[FakeClient, FakeShell]]:
        """An open session, served until the block ends."""
        known = set(self.containers.shells)
        client = FakeClient(self.auth(**size))
        serving = asyncio.create_task(self.gateway.terminal(client))
        await wait_until(lambda: client.controls)
        assert client.controls[0]["type"] == "ready"
        (session_id,) = set(self.containers.shells) - known
        try:
            yield client, self.containers.shells[session_id]
        finally:
            client.leave()
            await asyncio.wait_for(serving, 5)

    async def refused(self, client: FakeClient) -> tuple[int, str]:
        await self.gateway.terminal(client)
        assert client.closed
        return client.closed[0], client.controls[-1]["code"]

    @property
    def told(self) -> list[tuple[EventType, str | None, int]]:
        """What was published: type, reason of the end, open sessions."""
        events = [(event.type, cast("Terminal", event.data)) for event in self.bus.of(Topic.TERMINAL)]
        return [(type_, data.end.reason if data.end else None, data.open_sessions) for type_, data in events]


@pytest.fixture
async def stage() -> Stage:
    stage = Stage()
    await stage.observe()
    return stage


async def test_keys_reach_the_shell_and_its_screen_the_client(stage: Stage) -> None:
    async with stage.session(cols=100, rows=30) as (client, shell):
        client.type(b"ls\n")
        shell.show(b"file\r\n")
        await wait_until(lambda: b"file\r\n" in client.sent)
        client.type({"type": "resize", "cols": 50, "rows": 20})
        await wait_until(lambda: len(shell.sizes) == 2)
        assert shell.keys == b"ls\n"
        assert [(size.cols, size.rows) for size in shell.sizes] == [(100, 30), (50, 20)]
    assert shell.closed
    assert stage.told == [(EventType.SESSION_OPENED, None, 1), (EventType.SESSION_CLOSED, "client_left", 0)]
    assert stage.containers.reaped == list(stage.containers.shells)
    assert stage.journal.entries == []


async def test_the_shells_end_is_told_with_its_code(stage: Stage) -> None:
    async with stage.session() as (client, shell):
        shell.exit(3)
        await wait_until(lambda: client.closed)
        assert client.controls[-1] == {"type": "exit", "code": 3}
        assert client.closed == (1000, "")
    assert stage.told[-1][1] == "exited"


@pytest.mark.parametrize(
    ("phase", "close", "code"),
    [
        (Phase.PROVISIONING, 4409, "not_running"),
        (Phase.STARTING, 4409, "not_running"),
        (Phase.STOPPED, 4409, "not_running"),
        (Phase.FAILED, 4409, "not_running"),
        (Phase.DELETING, 4404, "no_such_instance"),
        (Phase.REMOVED, 4404, "no_such_instance"),
    ],
)
async def test_an_instance_that_does_not_run_has_no_terminal(stage: Stage, phase: Phase, close: int, code: str) -> None:
    await stage.observe(phase=phase)
    assert await stage.refused(FakeClient(stage.auth())) == (close, code)
    assert stage.journal.entries == []
    assert stage.told == []


async def test_a_client_that_says_nothing_is_closed(stage: Stage) -> None:
    assert await stage.refused(FakeClient()) == (4408, "auth_timeout")


async def test_a_client_that_leaves_before_it_says_anything_is_no_error(stage: Stage) -> None:
    client = FakeClient()
    client.leave()
    await stage.gateway.terminal(client)
    assert client.sent == []


async def test_a_bus_or_engine_that_is_down_is_said_so_and_leaves_nothing(stage: Stage) -> None:
    stage.containers.available = False
    assert await stage.refused(FakeClient(stage.auth())) == (4500, "engine_failed")
    stage.containers.available = True
    await stage.custody.sweep()
    assert stage.journal.entries == []
    stage.bus.available = False
    assert await stage.refused(FakeClient(stage.auth())) == (1013, "unavailable")


async def test_a_container_that_is_gone_is_not_running(stage: Stage) -> None:
    stage.containers.running.clear()
    assert await stage.refused(FakeClient(stage.auth())) == (4409, "not_running")
    assert stage.journal.entries == []


async def test_places_are_bounded_and_given_back(stage: Stage) -> None:
    async with stage.session(), stage.session():
        assert await stage.refused(FakeClient(stage.auth())) == (4429, "too_many_sessions")
    async with stage.session():
        assert stage.sessions.count(stage.instance_id) == 1


async def test_an_instance_that_stops_ends_its_sessions_and_no_others(stage: Stage) -> None:
    async with stage.session() as (client, _):
        stage.sessions.on_observed(make_observed(phase=Phase.STOPPED))
        stage.sessions.on_observed(make_observed(stage.instance_id, container_id="c1"))
        await asyncio.sleep(0)
        assert client.closed is None
        stage.sessions.on_observed(make_observed(stage.instance_id, phase=Phase.STOPPING))
        await wait_until(lambda: client.closed)
        assert client.closed == (4409, "the instance is stopping now")
    assert stage.told[-1][1] == "instance_stopping"


async def test_a_new_container_ends_the_sessions_of_the_old(stage: Stage) -> None:
    async with stage.session() as (client, _):
        stage.sessions.on_observed(make_observed(stage.instance_id, container_id="c2"))
        await wait_until(lambda: client.closed)
    assert stage.told[-1][1] == "instance_replaced"


async def test_news_that_was_missed_is_found_by_looking_again(stage: Stage) -> None:
    async with stage.session() as (client, _):
        await stage.observe(phase=Phase.STOPPED)
        await recheck(stage.bus, stage.sessions)
        await wait_until(lambda: client.closed)


@pytest.mark.parametrize(("patience", "reason"), [({"idle": 0.05}, "idle"), ({"total": 0.05}, "time_over")])
async def test_patience_ends(patience: dict[str, float], reason: str) -> None:
    stage = Stage(**patience)
    await stage.observe()
    async with stage.session() as (client, _):
        await wait_until(lambda: client.closed)
        assert client.closed
        assert client.closed[0] == 4408
    assert stage.told[-1][1] == reason


def test_activity_keeps_a_session_from_being_idle() -> None:
    async def busy() -> None:
        stage = Stage(idle=20, total=600)
        await stage.observe()
        async with stage.session() as (client, shell):
            for number in range(8):
                await asyncio.sleep(15)
                client.type(b"x") if number % 2 else shell.show(b"y")
            assert client.closed is None

    jumping_clock.run(busy())


async def test_what_could_not_be_reaped_is_reaped_by_the_next_sweep(stage: Stage) -> None:
    async with stage.session():
        stage.containers.available = False
    assert len(stage.journal.entries) == 1
    assert stage.told == [(EventType.SESSION_OPENED, None, 1)]
    stage.containers.available = True
    await stage.custody.sweep()
    assert stage.told[-1] == (EventType.SESSION_CLOSED, "client_left", 0)
    assert stage.journal.entries == []


async def test_an_end_that_could_not_be_published_is_published_by_the_next_sweep(stage: Stage) -> None:
    async with stage.session():
        stage.bus.available = False
    stage.bus.available = True
    await stage.custody.sweep()
    assert stage.told[-1] == (EventType.SESSION_CLOSED, "client_left", 0)


async def test_a_session_of_a_dead_gateway_is_reaped_and_told(stage: Stage) -> None:
    async with stage.session():
        entry = stage.journal.entries[0]
    stage.journal.entries.append(entry)
    entry.record = entry.record.model_copy(update={"end": None})
    entry.leave()
    await stage.custody.sweep()
    assert stage.told[-1][1] == "gateway_lost"
    assert stage.journal.entries == []


async def test_a_defect_closes_the_connection_and_leaves_nothing(stage: Stage) -> None:
    async def broken() -> bytes:
        raise RuntimeError("a defect")

    async with stage.session() as (client, shell):
        shell.read = broken  # type: ignore[method-assign]
        shell.show(b"x")
        await wait_until(lambda: client.closed)
        assert client.closed == (4500, "internal error")
    assert stage.containers.reaped
    await stage.custody.sweep()
    assert stage.journal.entries == []


async def test_the_dashboard_ticket_becomes_a_redirect(stage: Stage) -> None:
    stage.containers.output = lambda: '{"browserUrl":"http://x/#bootstrapToken=12345678"}'
    client = FakeClient(stage.auth(Purpose.DASHBOARD))
    await stage.gateway.dashboard(client)
    assert client.controls == [
        {"type": "redirect", "url": "https://mine.test/#bootstrapToken=12345678&bootstrapProfile=owner"}
    ]
    assert client.closed == (1000, "")
    assert stage.told == []


async def test_no_dashboard_link_is_said_so_and_the_command_is_ended(stage: Stage) -> None:
    client = FakeClient(stage.auth(Purpose.DASHBOARD))
    await stage.gateway.dashboard(client)
    assert client.controls[-1]["code"] == "no_dashboard_link"
    assert len(stage.containers.reaped) == 1


async def test_the_span_of_an_opening_continues_the_clients_trace_and_names_its_request(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    spans = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    monkeypatch.setattr(gateway, "tracer", provider.get_tracer("test"))
    async with stage.session() as (client, _):
        span = spans.get_finished_spans()[0]
    assert span.context
    assert f"{span.context.trace_id:032x}" == client.traceparent.split("-")[1]
    assert span.attributes
    assert span.attributes["http.request.header.x-request-id"] == (client.request_id,)
    assert span.attributes["client.address"] == client.remote
