"""Probes over HTTP: one kept connection per gateway where the gateway keeps it."""

import asyncio
import time
from datetime import timedelta
from types import TracebackType
from typing import Self

import aiohttp
from prometheus_client import Histogram
from yarl import URL

from clawstead_health.verdict import ProbeResult

FORWARDED_CLIENT = "192.0.2.1"
"""A documentation address: the gateway answers 403 to a probe through its trusted proxy that names no client."""
_BODY_BYTES = 4096

PROBES = Histogram(
    "clawstead_probe_seconds",
    "Time to the answer of a probe",
    ["outcome"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1, 5),
)


class HttpGateway:
    """Keeps the promises of ``Gateway``. Enter it before use."""

    def __init__(self, *, timeout: timedelta, keep: timedelta, concurrency: int) -> None:
        self._timeout = timeout.total_seconds()
        self._keep = keep.total_seconds()
        self._concurrency = concurrency
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=self._concurrency, limit_per_host=2, keepalive_timeout=self._keep)
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._timeout),
            headers={"X-Forwarded-For": FORWARDED_CLIENT, "User-Agent": "clawstead-health"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session:
            await self._session.close()

    async def probe(self, host: str, port: int, path: str) -> ProbeResult:
        """See ``Gateway.probe``."""
        started = time.perf_counter()
        try:
            status = await self._status(URL.build(scheme="http", host=host, port=port, path=path))
        except TimeoutError:
            result = ProbeResult(error=f"no answer within {self._timeout:g} s")
        except (aiohttp.ClientError, OSError, ValueError) as failure:
            result = ProbeResult(error=_described(failure))
        else:
            elapsed = (time.perf_counter() - started) * 1000
            result = ProbeResult(response_ms=round(elapsed, 2), error=None if status == 200 else f"HTTP {status}")  # noqa: PLR2004
        PROBES.labels("ok" if result.ok else "failed").observe(time.perf_counter() - started)
        return result

    async def _status(self, url: URL) -> int:
        assert self._session is not None, "enter the gateway before use"
        async with self._session.get(url, allow_redirects=False) as response:
            # Read to the end, so that the connection can be kept; a tenant may send more than we care to read.
            await response.content.read(_BODY_BYTES)
            return response.status


def _described(failure: Exception) -> str:
    cause = failure.__cause__ or failure
    if isinstance(failure, aiohttp.ClientConnectorError):
        cause = failure.os_error
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused"
    if isinstance(cause, asyncio.IncompleteReadError | ConnectionResetError | aiohttp.ServerDisconnectedError):
        return "connection closed without an answer"
    return f"{type(cause).__name__}: {cause}"[:200]
