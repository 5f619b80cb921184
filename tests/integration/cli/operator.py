"""An operator at work: commands in this process, on a real bus whose services live in a thread beside."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from typer.testing import CliRunner

from clawstead_cli.app import app
from clawstead_cli.errors import CommandError
from clawstead_shared import topology
from clawstead_shared.messaging import Bus
from clawstead_shared.settings import BusSettings
from tests.support.nats_server import NatsServer
from tests.support.recording_service import RecordingService

T = TypeVar("T")
_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended."""

    code: int
    out: str
    error: str
    """Message and hint of what stopped it, and what it wrote to standard error."""


class Operator:
    """Runs commands; starting a process for each would cost a second."""

    def __init__(self, server: NatsServer, data_dir: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._environment = {"CLAWSTEAD_NATS_URL": server.url, "CLAWSTEAD_DATA_DIR": str(data_dir)}
        self.server = server
        self.data_dir = data_dir
        self.bus: Bus = self.wait(self._connect())

    async def _connect(self) -> Bus:
        bus = Bus("test", BusSettings(nats_url=self.server.url))
        await bus.connect()
        await topology.apply(bus.jetstream)
        return bus

    async def _end(self) -> None:
        await self.bus.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Have the thread beside do something, and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_SECONDS)

    def run(self, *arguments: str) -> Outcome:
        """Run ``clawstead``."""
        result = CliRunner().invoke(app, arguments, env=self._environment)
        if isinstance(result.exception, CommandError):
            error = result.exception
            return Outcome(error.exit_code, result.stdout, f"{result.stderr}{error}\n{error.hint or ''}")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Outcome(result.exit_code, result.stdout, result.stderr)

    @contextmanager
    def service(self, service: RecordingService) -> Iterator[RecordingService]:
        """Have ``service`` answer while the block runs."""
        running = service.running(self.server.url)
        self.wait(running.__aenter__())
        try:
            yield service
        finally:
            self.wait(running.__aexit__(None, None, None))

    def close(self) -> None:
        """Leave nothing behind."""
        self.wait(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_SECONDS)
        self._loop.close()
