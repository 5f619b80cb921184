"""The skeleton of every service process: logs, traces, the admin port, the bus, and an orderly end.

    serve(name, settings, port, body)
      body(service)     the composition root of one service; runs until cancelled
      SIGTERM/SIGINT    not ready -> run what was asked for before_stop -> stop pulling, let handlers finish
                    -> cancel body -> close

A background task that fails takes the process down with it, and the supervisor starts a fresh one: a
service that is half alive helps nobody.
"""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from typing import NoReturn

import structlog
import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp

from clawstead_shared.admin import Readiness, admin_routes
from clawstead_shared.credentials import SeedFileError
from clawstead_shared.errors import StreamsMissingError, TransientError
from clawstead_shared.logging import configure_logging
from clawstead_shared.messaging import Bus
from clawstead_shared.settings import ServiceSettings
from clawstead_shared.telemetry import configure_telemetry

log = structlog.get_logger()

_BUS = "bus"
_WATCH_SECONDS = 1.0
_STREAMS_RETRY_SECONDS = 2.0
_BEFORE_STOP_SECONDS = 10.0
_UNUSABLE_SETTING = 2
"""The exit code of the command line for this, too."""


class Service:
    """What a composition root is given: the bus, the readiness to report, and the HTTP app to serve."""

    def __init__(self, name: str, settings: ServiceSettings) -> None:
        self.name = name
        self.readiness = Readiness(_BUS, "boot")
        self.bus = Bus(name, settings)
        self.http: ASGIApp = Starlette(routes=admin_routes(name, self.readiness))
        """Replaced by the API, whose own app includes the admin routes."""
        self._before_stop: list[Callable[[], Awaitable[None]]] = []

    def before_stop(self, step: Callable[[], Awaitable[None]]) -> None:
        """Have ``step`` run when the process is told to stop, while the bus still works; ten seconds at most."""
        self._before_stop.append(step)

    async def prepare_stop(self) -> None:
        """Run the steps of ``before_stop``; one that fails or takes too long does not hold up the others."""
        for step in self._before_stop:
            try:
                async with asyncio.timeout(_BEFORE_STOP_SECONDS):
                    await step()
            except Exception:
                log.exception("a step before the stop failed")

    async def connect(self) -> None:
        """Connect the bus and wait until the streams are declared, saying in ``/readyz`` what is missing."""
        self.readiness.unmet(_BUS, self.bus.problem)
        await self.bus.connect(lambda problem: self.readiness.unmet(_BUS, problem))
        while True:
            try:
                await self.bus.require_streams()
            except (StreamsMissingError, TransientError) as error:
                self.readiness.unmet(_BUS, str(error))
                await asyncio.sleep(_STREAMS_RETRY_SECONDS)
            else:
                self.readiness.met(_BUS)
                return

    async def run(self, *tasks: Awaitable[None]) -> NoReturn:
        """Start consuming, report ready, and run ``tasks`` until the process is told to stop."""
        await self.bus.start()
        self.readiness.met("boot")
        log.info("ready")
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_bus(), name="watch-bus")
            for task in tasks:
                group.create_task(_awaited(task))
        raise RuntimeError("a background task ended although it runs for ever")

    async def _watch_bus(self) -> None:
        while True:
            if self.bus.connected:
                self.readiness.met(_BUS)
            else:
                self.readiness.unmet(_BUS, self.bus.problem)
            await asyncio.sleep(_WATCH_SECONDS)


async def _awaited(task: Awaitable[None]) -> None:
    await task


Body = Callable[[Service], Awaitable[None]]


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers: the skeleton owns the signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(name: str, settings: ServiceSettings, *, port: int, body: Body) -> None:
    """Run one service until it is told to stop, then exit; non-zero when it failed."""
    configure_logging(name, settings)
    provider = configure_telemetry(name)
    try:
        asyncio.run(_serve(Service(name, settings), settings, port, body))
    except SeedFileError as error:
        log.critical("cannot start", error=str(error))
        sys.exit(_UNUSABLE_SETTING)
    except Exception:
        log.exception("service failed")
        sys.exit(1)
    finally:
        provider.shutdown()


async def _serve(service: Service, settings: ServiceSettings, port: int, body: Body) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)

    async def http(scope: object, receive: object, send: object) -> None:
        await service.http(scope, receive, send)  # type: ignore[arg-type]

    config = uvicorn.Config(http, settings.bind_host, port, log_config=None, access_log=False, lifespan="off")
    server = _Server(config)
    working = asyncio.ensure_future(body(service))
    serving = asyncio.create_task(server.serve(), name="http")
    told = asyncio.create_task(stopping.wait(), name="signal")
    try:
        await asyncio.wait({working, serving, told}, return_when=asyncio.FIRST_COMPLETED)
        if stopping.is_set():
            log.info("stopping")
            service.readiness.unmet("boot", "stopping")
            await service.prepare_stop()
            await service.bus.close()
    finally:
        told.cancel()
        await _cancelled(working)
        server.should_exit = True
        await asyncio.wait({serving}, timeout=5)
    for task in (working, serving):
        if task.done() and not task.cancelled() and (error := task.exception()):
            raise error


async def _cancelled(task: "asyncio.Future[None]") -> None:
    task.cancel()
    await asyncio.wait({task}, timeout=10)
