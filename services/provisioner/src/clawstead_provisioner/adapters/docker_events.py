"""The engine's event stream as an async iterator. docker-py blocks on it, so a thread of its own reads it."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import requests
from docker.errors import DockerException

from clawstead_provisioner.adapters.docker_calls import DockerCalls
from clawstead_provisioner.adapters.docker_objects import read_event
from clawstead_provisioner.errors import EngineUnavailableError
from clawstead_provisioner.ports import EngineEvent, Happening
from clawstead_provisioner.spec import INSTALLATION_LABEL

_BUFFER = 10_000
"""Events kept for a loop that is behind; more are dropped, and the stream ends so that everything is listed."""


class _Subscription:
    """One connection to the stream, read by a daemon thread until it ends or is closed."""

    def __init__(self, installation: str, since: datetime) -> None:
        self._filters = {
            "type": ["container"],
            "label": [f"{INSTALLATION_LABEL}={installation}"],
            "event": [happening.value for happening in Happening],
        }
        self._since = since
        self._loop = asyncio.get_running_loop()
        self._stream: Any = None
        self._closed = False
        self.queue: asyncio.Queue[EngineEvent | Exception | None] = asyncio.Queue(_BUFFER)
        threading.Thread(target=self._read, name="docker-events", daemon=True).start()

    def close(self) -> None:
        """End the connection, and with it the thread."""
        self._closed = True
        if self._stream is not None:
            with contextlib.suppress(DockerException, OSError, AttributeError):
                self._stream.close()

    def _read(self) -> None:
        try:
            # No timeout: nothing may happen for days.
            client = DockerCalls.new_client(None)
            self._stream = client.events(since=int(self._since.timestamp()), filters=self._filters, decode=True)
            if self._closed:
                self._stream.close()
            for document in self._stream:
                if (event := read_event(document)) is not None:
                    self._put(event)
            self._put(None)
        except (DockerException, requests.RequestException, OSError, ValueError) as error:
            self._put(EngineUnavailableError(type(error).__name__))

    def _put(self, item: EngineEvent | Exception | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(self._offer, item)

    def _offer(self, item: EngineEvent | Exception | None) -> None:
        if self.queue.full():
            self.close()
            self.queue.get_nowait()
            item = None
        self.queue.put_nowait(item)


async def container_events(installation: str, since: datetime) -> AsyncIterator[EngineEvent]:
    """Yield events of the installation's containers until the engine ends the stream.

    Raises:
        EngineUnavailableError: the engine does not answer, or the connection broke.
    """
    subscription = _Subscription(installation, since)
    try:
        while (item := await subscription.queue.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        subscription.close()
