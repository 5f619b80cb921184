"""The composition root: builds the parts, joins them, and runs them.

clients ─> routes ─> handlers ─> database ─> outbox ─> relay ─> bus
clients <─ feed   <─ projector <──────────────────────────────── bus
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute
from starlette.types import Scope

from clawstead_api import repository
from clawstead_api.adapters.nats_buckets import NatsBuckets
from clawstead_api.adapters.nats_log import NatsLog
from clawstead_api.adapters.terminal_logs import TerminalLogs
from clawstead_api.admission import Capacity
from clawstead_api.auth import Principal, authenticate
from clawstead_api.brake import Brake
from clawstead_api.database import Database
from clawstead_api.desk import Desk
from clawstead_api.errors import ApiError, DatabaseUnavailableError
from clawstead_api.feed import Feed, Interest
from clawstead_api.idempotency import KEPT
from clawstead_api.keys import KeyExchange
from clawstead_api.middleware import API_ROOT, Authentication, BodyLimit, RequestContext
from clawstead_api.outbox import Relay
from clawstead_api.plans import load_plans
from clawstead_api.problems import Problem, on_api_error, on_http_exception, on_validation_error
from clawstead_api.projector import Projector
from clawstead_api.rebuild import Rebuilder
from clawstead_api.recovery import Recovery
from clawstead_api.routes import audit, events, instances, plans
from clawstead_api.sealing import Vault
from clawstead_api.settings import Settings
from clawstead_api.subscribers import subscribe
from clawstead_api.tables import Event
from clawstead_api.tickets import TicketIssuer
from clawstead_api.token_copies import TokenCopies
from clawstead_shared.admin import Readiness, admin_routes
from clawstead_shared.control import Verb
from clawstead_shared.errors import TransientError
from clawstead_shared.messaging.log_watch import LogWatch
from clawstead_shared.service import Service

log = structlog.get_logger()

NAME = "api"
_DATABASE = "database"
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 5.0
_WATCH_SECONDS = 5.0
_HOUSEKEEPING_SECONDS = 3600.0


async def run(service: Service, settings: Settings) -> None:
    """Serve clients at once, and the bus as soon as it is there."""
    database = Database(settings.database)
    buckets = NatsBuckets(service.bus)
    relay = Relay(database, service.bus, buckets, connected=lambda: service.bus.connected)
    tickets = TicketIssuer(settings.directory / "ticket.key")
    keys = KeyExchange(database, buckets, tickets.public_pem)
    archive = NatsLog(service.bus)
    feed = Feed(stored_events(database))
    desk = Desk(
        database=database,
        keys=keys,
        vault=Vault(settings.directory / "vault.key"),
        tickets=tickets,
        plans=load_plans(settings.plans_file),
        capacity=Capacity(buckets),
        edge=settings,
        image=settings.image,
        archive=archive,
        output=TerminalLogs(service.bus),
        wake=relay.wake,
    )
    # Before the first await: the port opens right after it, and must not answer 404 for a moment.
    service.http = build_http(
        desk,
        feed,
        admin_routes(NAME, service.readiness),
        failed_tokens_per_minute=settings.failed_tokens_per_minute,
    )
    service.before_stop(feed.close)
    projector = Projector(database, service.bus, archive, feed, wake=relay.wake)
    tokens = TokenCopies(database, desk.vault, buckets)
    recovery = Recovery(desk, projector, service.bus, buckets)
    subscribe(service.bus, projector)
    service.bus.control.answer(Verb.RESYNC, recovery.answer)
    service.bus.control.answer(Verb.REBUILD, Rebuilder(database, archive, projector).answer)
    watch = LogWatch(lambda: service.bus.jetstream)
    try:
        await service.connect()
        await come_up(watch, tokens, recovery, projector)
        await service.run(
            relay.run(),
            keys.run(),
            watch.run(recovery.again),
            recovery.watch_secrets(),
            tokens.run(),
            watch_database(database, service.readiness),
            housekeeping(database),
        )
    finally:
        await feed.close()
        await database.close()


async def come_up(watch: LogWatch, tokens: TokenCopies, recovery: Recovery, projector: Projector) -> None:
    """Bring the database and the log together before anything is consumed, however long the bus is away."""
    wait = _FIRST_WAIT_SECONDS
    while True:
        try:
            await watch.look()
            await tokens.agree()
            await recovery.recover()
            await projector.catch_up()
        except (TransientError, DatabaseUnavailableError) as error:
            log.warning("start waits", error=str(error), retry_seconds=wait)
            await asyncio.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT_SECONDS)
        else:
            return


def build_http(
    desk: Desk | None, feed: Feed | None, admin: Sequence[BaseRoute] = (), *, failed_tokens_per_minute: int = 0
) -> FastAPI:
    """Return the HTTP application; without a desk it can only be described, not called."""
    app = FastAPI(
        title="Clawstead",
        version="1",
        summary="Hosts OpenClaw gateways: create, watch, command and reach them.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        # Its spans continue the client's trace; numbers and logs are ours.
        telemetry={"metrics": False, "logs": False, "operation_spans": False, "exclude": _is_plumbing},
    )
    app.state.desk = desk
    app.state.feed = feed
    for module in (instances, events, plans, audit):
        app.include_router(module.router, prefix="/api/v1")
    app.router.routes.extend(admin)
    app.add_exception_handler(ApiError, on_api_error)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(HTTPException, on_http_exception)

    async def recognise(token: str) -> Principal | None:
        return await authenticate(app.state.desk.database, token)

    app.add_middleware(BodyLimit)
    app.add_middleware(Authentication, authenticate=recognise, brake=Brake(failed_tokens_per_minute))
    app.add_middleware(RequestContext)
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        document = describe()
        schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        document["components"]["schemas"].update(**schema.pop("$defs"), Problem=schema)
        return document

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def _is_plumbing(scope: Scope) -> bool:
    return not scope["path"].startswith(API_ROOT)


def openapi_document() -> dict[str, Any]:
    """Return the OpenAPI document; needs no database, bus or settings."""
    return build_http(None, None).openapi()


def stored_events(database: Database) -> Any:
    """Return how the feed reads older events."""

    async def fetch(interest: Interest, after: int, limit: int) -> list[Event]:
        async with database.read() as session:
            return list(await repository.events_after(session, interest, after, limit))

    return fetch


async def watch_database(database: Database, readiness: Readiness) -> None:
    """Say in ``/readyz`` whether the database answers."""
    while True:
        try:
            await database.require_reachable()
            readiness.met(_DATABASE)
        except DatabaseUnavailableError as error:
            readiness.unmet(_DATABASE, error.reason)
        await asyncio.sleep(_WATCH_SECONDS)


async def housekeeping(database: Database) -> None:
    """Forget what has expired, once an hour."""
    while True:
        try:
            async with database.write() as session:
                await repository.drop_idempotency_keys(session, datetime.now(UTC) - KEPT)
        except DatabaseUnavailableError as error:
            log.warning("housekeeping put off", reason=error.reason)
        await asyncio.sleep(_HOUSEKEEPING_SECONDS)
