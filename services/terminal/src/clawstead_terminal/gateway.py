"""What happens on each connection: ticket, instance, program, and an end that leaves nothing running.

auth frame ─▶ ticket spent ─▶ newest observation says running ─▶ journal ─▶ exec ─▶ "opened" published ─▶ ready
... bytes both ways ...
any end ─▶ programs reaped ─▶ "closed" published ─▶ journal entry forgotten
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import cast

import structlog
from opentelemetry import trace
from prometheus_client import Counter, Histogram

from clawstead_shared.errors import StreamsMissingError, TransientError
from clawstead_shared.events import Event, Observed, Phase
from clawstead_shared.subjects import Topic
from clawstead_shared.telemetry import continued_trace
from clawstead_shared.tickets import Purpose, TicketClaims
from clawstead_terminal import dashboard, protocol
from clawstead_terminal.custody import Custody
from clawstead_terminal.errors import Close, EngineError, GoneError, RefusedError
from clawstead_terminal.ports import Bus, Client, ClientGoneError, Containers, SessionEntry
from clawstead_terminal.protocol import Auth
from clawstead_terminal.pump import Patience, Pump
from clawstead_terminal.records import SessionRecord
from clawstead_terminal.sessions import Admission, Outcome, SessionHandle, Sessions
from clawstead_terminal.tickets import TicketOffice

REFUSED = Counter("clawstead_terminal_refused_total", "Connections turned away, by reason", ["code"])
OPENING = Histogram(
    "clawstead_terminal_open_seconds",
    "From the auth frame to a ready shell",
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 10),
)
_GOODBYE_SECONDS = 3.0
_GONE_PHASES = frozenset({Phase.DELETING, Phase.REMOVED})

log = structlog.get_logger()
tracer = trace.get_tracer(__name__)


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that concern connections."""

    auth_timeout: timedelta
    dashboard_timeout: timedelta
    patience: Patience
    sessions_per_instance: int
    origin_of: Callable[[str], str]
    """From an instance's subdomain to its public origin."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A client whose ticket was spent, and the running container it may reach."""

    client: Client
    auth: Auth
    claims: TicketClaims
    observed: Observed
    container_id: str


class Gateway:
    """Serves the connections of one process."""

    def __init__(
        self,
        *,
        bus: Bus,
        office: TicketOffice,
        containers: Containers,
        custody: Custody,
        sessions: Sessions,
        rules: Rules,
    ) -> None:
        self._bus = bus
        self._office = office
        self._containers = containers
        self._custody = custody
        self._sessions = sessions
        self._rules = rules
        self._shells = Admission(rules.sessions_per_instance, "terminals open")
        self._dashboards = Admission(1, "dashboards being opened")

    async def terminal(self, client: Client) -> None:
        """Serve one connection to ``/ws/terminal`` to its end. Never raises for what the client or instance does."""
        await self._serve(client, Purpose.TERMINAL, self._terminal)

    async def dashboard(self, client: Client) -> None:
        """Serve one connection to ``/ws/dashboard`` to its end. Never raises for what the client or instance does."""
        await self._serve(client, Purpose.DASHBOARD, self._dashboard)

    async def _serve(self, client: Client, purpose: Purpose, work: Callable[[Admitted], Awaitable[None]]) -> None:
        context = {"remote": client.remote, "purpose": purpose, "request_id": client.request_id}
        with structlog.contextvars.bound_contextvars(**context), continued_trace(client.traceparent):
            try:
                with _refusing():
                    admitted = await self._admit(client, purpose)
                    with structlog.contextvars.bound_contextvars(instance_id=admitted.observed.instance_id):
                        await work(admitted)
            except RefusedError as refusal:
                REFUSED.labels(refusal.code).inc()
                log.info("client turned away", code=refusal.code, message=str(refusal))
                await _say_goodbye(client, protocol.refused(refusal), refusal.close, str(refusal))
            except ClientGoneError:
                log.debug("client left")
            except Exception:
                log.exception("connection failed")
                await _say_goodbye(client, None, Close.FAILED, "internal error")

    async def _admit(self, client: Client, purpose: Purpose) -> Admitted:
        try:
            async with asyncio.timeout(self._rules.auth_timeout.total_seconds()):
                frame = await client.receive()
        except TimeoutError:
            raise RefusedError(Close.TIMEOUT, "auth_timeout", "no ticket arrived in time") from None
        auth = protocol.parse_auth(frame)
        claims = await self._office.redeem(auth.ticket, purpose)
        event = cast("Event[Observed] | None", await self._bus.newest(Topic.OBSERVED, claims.sub))
        if event is None or event.data.phase in _GONE_PHASES:
            raise RefusedError(Close.NO_SUCH_INSTANCE, "no_such_instance", "there is no such instance")
        observed = event.data
        if observed.phase is not Phase.RUNNING or observed.container_id is None:
            raise RefusedError(Close.NOT_RUNNING, "not_running", f"the instance is {observed.phase}, not running")
        return Admitted(client, auth, claims, observed, observed.container_id)

    async def _terminal(self, admitted: Admitted) -> None:
        instance_id = admitted.observed.instance_id
        with self._shells.admitted(instance_id):
            record = SessionRecord(
                session_id=uuid.uuid4().hex,
                instance_id=instance_id,
                container_id=admitted.container_id,
                owner_id=admitted.claims.owner,
                remote=admitted.client.remote,
                opened_at=datetime.now(UTC),
            )
            entry = self._custody.take(record)
            outcome: Outcome | None = None
            try:
                handle = SessionHandle(instance_id, admitted.container_id)
                with self._sessions.holding(handle):
                    outcome = await self._session(admitted, entry, handle)
            finally:
                goodbye = _explained(admitted.client, outcome) if outcome else _nothing()
                await asyncio.gather(self._custody.end(entry, outcome), goodbye)

    async def _session(self, admitted: Admitted, entry: SessionEntry, handle: SessionHandle) -> Outcome:
        record = entry.record
        started = time.perf_counter()
        attributes = {
            "instance_id": record.instance_id,
            "client.address": record.remote,
            "http.request.header.x-request-id": [admitted.client.request_id or ""],
        }
        with tracer.start_as_current_span("terminal.open", attributes=attributes):
            shell = await self._containers.open_shell(
                record.container_id, record.instance_id, record.session_id, admitted.auth.size
            )
            try:
                await self._bus.publish(record.event(self._sessions.count(record.instance_id)))
                await admitted.client.send(protocol.ready(record.session_id))
            except BaseException:
                await shell.close()
                raise
        OPENING.observe(time.perf_counter() - started)
        log.info("session opened", session_id=record.session_id, owner_id=record.owner_id)
        try:
            return await Pump(admitted.client, shell, handle, self._rules.patience).run()
        finally:
            await shell.close()

    async def _dashboard(self, admitted: Admitted) -> None:
        observed, session_id = admitted.observed, uuid.uuid4().hex
        with self._dashboards.admitted(observed.instance_id):
            try:
                async with asyncio.timeout(self._rules.dashboard_timeout.total_seconds()):
                    output = await self._containers.run(
                        admitted.container_id, observed.instance_id, session_id, dashboard.COMMAND
                    )
                token = dashboard.bootstrap_token(output)
            except (TimeoutError, ValueError) as error:
                log.warning("no dashboard link", error=str(error) or "timed out")
                with contextlib.suppress(EngineError):
                    await self._containers.reap(admitted.container_id, session_id)
                message = "the instance did not make a dashboard link; try again"
                raise RefusedError(Close.FAILED, "no_dashboard_link", message) from error
        url = dashboard.dashboard_url(self._rules.origin_of(observed.subdomain), token)
        await _say_goodbye(admitted.client, protocol.redirect(url), Close.NORMAL, "")
        log.info("dashboard opened", owner_id=admitted.claims.owner)


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except (TransientError, StreamsMissingError) as error:
        log.warning("bus failed a client", error=str(error))
        raise RefusedError(Close.TRY_AGAIN_LATER, "unavailable", "not possible right now; try again") from error
    except GoneError as error:
        raise RefusedError(Close.NOT_RUNNING, "not_running", "the instance is not running") from error
    except EngineError as error:
        log.warning("engine failed a client", error=str(error))
        raise RefusedError(Close.FAILED, "engine_failed", "the instance could not be reached; try again") from error


async def _explained(client: Client, outcome: Outcome) -> None:
    frame: str | None = None
    if outcome.exited:
        frame = protocol.exited(outcome.exit_code)
    elif outcome.message:
        frame = protocol.refused(RefusedError(outcome.close, outcome.reason, outcome.message))
    await _say_goodbye(client, frame, outcome.close, outcome.message)


async def _say_goodbye(client: Client, frame: str | None, close: Close, reason: str) -> None:
    with contextlib.suppress(ClientGoneError, TimeoutError):
        async with asyncio.timeout(_GOODBYE_SECONDS):
            if frame is not None:
                await client.send(frame)
            await client.close(close, reason)


async def _nothing() -> None:
    return
