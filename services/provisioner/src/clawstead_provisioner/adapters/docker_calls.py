"""Calls of docker-py, which blocks: on bounded threads, under a deadline, with errors that say what to do.

Stops block for minutes and pulls for longer, so each kind has threads of its own and can starve no other.
"""

import asyncio
import contextlib
import math
import os
import threading
from collections.abc import Callable, Iterator
from enum import Enum
from typing import TypeVar

import requests
from docker import APIClient
from docker.errors import APIError, DockerException
from docker.utils import kwargs_from_env
from opentelemetry import trace

from clawstead_provisioner.daemon_pool import DaemonPool
from clawstead_provisioner.errors import EngineUnavailableError, ImageMissingError, PortTakenError, ProvisioningError
from clawstead_shared.events import Reason

T = TypeVar("T")

_TRACER = trace.get_tracer("clawstead.provisioner")
_SERVER_ERROR = 500
_STARTING_A_PROCESS = ("starting container process", "start container process", "exec: ")
_GOING_AWAY = (
    "no such file or directory",
    "error while dialing",
    "transport is closing",
    "connection is closing",
    "context canceled",
    "shutting down",
    "ttrpc: closed",
)
"""What an engine says that is ending, of the sockets and files that it already misses."""


class Lane(Enum):
    """Which threads a call runs on."""

    NORMAL = "engine"
    STOPS = "engine-stops"
    NETWORKS = "engine-networks"
    PULLS = "engine-pulls"
    PING = "engine-ping"


_THREADS = {
    # Creating and starting is bound by the CPU: more at once only makes each slower.
    Lane.NORMAL: max(4, 2 * (os.cpu_count() or 1)),
    Lane.STOPS: 64,
    # The engine removes networks one after the other, a fifth of a second each: containers must not wait for that.
    Lane.NETWORKS: 2,
    Lane.PULLS: 2,
    Lane.PING: 1,
}


class DockerCalls:
    """One engine's client, and the threads it is called on."""

    def __init__(self, *, timeout_seconds: float) -> None:
        self._timeout = timeout_seconds
        self._lock = threading.Lock()
        self._client: APIClient | None = None
        self._threads = {lane: DaemonPool(count, lane.value) for lane, count in _THREADS.items()}

    async def run(
        self,
        name: str,
        call: Callable[[APIClient], T],
        *,
        lane: Lane = Lane.NORMAL,
        timeout_seconds: float | None = None,
    ) -> T:
        """Run ``call`` in a thread and return its result.

        The deadline counts from now, so a lane that is full shows as an engine that does not answer.

        Raises:
            EngineUnavailableError: no connection, no answer in time, or an answer that makes no sense.
            docker.errors.APIError: the engine refused.
        """
        deadline = timeout_seconds or self._timeout
        with _span(name):
            running = self._threads[lane].submit(lambda: self._call(call))
            try:
                return await asyncio.wait_for(asyncio.wrap_future(running), deadline)
            except TimeoutError as error:
                raise EngineUnavailableError(f"no answer to {name} within {deadline:.0f} s") from error

    def _call(self, call: Callable[[APIClient], T]) -> T:
        try:
            return call(self.client())
        except APIError:
            raise
        except (DockerException, requests.RequestException, OSError) as error:
            raise EngineUnavailableError(type(error).__name__) from error

    def client(self) -> APIClient:
        """Return the client, connecting at the first call: an engine may come up after us."""
        with self._lock:
            if self._client is None:
                self._client = self.new_client(math.ceil(self._timeout))
            return self._client

    @staticmethod
    def new_client(timeout_seconds: int | None) -> APIClient:
        """Connect to the engine that docker's own environment variables name.

        Raises:
            docker.errors.DockerException: it does not answer.
        """
        client: APIClient = APIClient(
            version="auto",
            timeout=timeout_seconds,  # type: ignore[arg-type]  # None is "no timeout"; the stubs do not know
            max_pool_size=sum(_THREADS.values()),
            **kwargs_from_env(),
        )
        return client


@contextlib.contextmanager
def _span(name: str) -> Iterator[None]:
    # A look without a cause would be a trace of its own, every minute, for every instance.
    if not trace.get_current_span().get_span_context().is_valid:
        yield
        return
    with _TRACER.start_as_current_span(f"docker.{name}"):
        yield


def status_of(error: APIError) -> int:
    """Return the HTTP status of a refusal."""
    return int(error.status_code or _SERVER_ERROR)


def explanation_of(error: APIError) -> str:
    """Return what the engine said."""
    return str(error.explanation or error)


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Take a refusal of what an engine never refuses for an engine that does not work.

    Raises:
        EngineUnavailableError: it refused.
    """
    try:
        yield
    except APIError as error:
        raise EngineUnavailableError(explanation_of(error)[:200]) from error


def _cannot_execute(low: str) -> bool:
    if "executable file not found" in low or "exec format error" in low:
        return True
    # An engine that is ending misses files of its own.
    return "no such file or directory" in low and any(sign in low for sign in _STARTING_A_PROCESS)


def refusal(error: APIError, image: str = "") -> Exception:
    """Return what a refusal means; the engine's status codes mislead, its text does not."""
    text = explanation_of(error)
    low = text.lower()
    if "no such image" in low:
        return ImageMissingError(image)
    if any(sign in low for sign in ("port is already allocated", "address already in use", "pool overlaps")):
        return PortTakenError(text)
    if "no space left on device" in low:
        return ProvisioningError(Reason.DISK_FULL, "the disk of the container engine is full")
    if _cannot_execute(low):
        return ProvisioningError(Reason.IMAGE_UNUSABLE, f"the image cannot run the gateway: {text[:200]}")
    if any(sign in low for sign in _GOING_AWAY):
        return ProvisioningError(Reason.ENGINE_UNAVAILABLE, f"the container engine is ending: {text[:200]}")
    return ProvisioningError(Reason.INTERNAL_ERROR, f"the container engine refused: {text[:300]}")
