"""Publishes the table: at once when it is quiet, else gathered, so that a storm of changes is a few reloads.

Every reload leaves the old workers behind for as long as their connections last. So the pause between two
reloads is the set interval, and as much again for each worker that is still draining; once another reload would
end connections of the oldest, half an hour. Waiting costs little: gates open and close routes at once, and nginx
asks about lines that its table does not have yet. Where the edge changes single lines at once, a table only brings
them to disk.
"""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from datetime import timedelta

import structlog
from prometheus_client import Gauge

from clawstead_proxy_sync.backoff import Backoff
from clawstead_proxy_sync.errors import explained
from clawstead_proxy_sync.nginx_map import Routes, Upstream
from clawstead_proxy_sync.ports import Edge, Report
from clawstead_shared.errors import HandlingError, TransientError

log = structlog.get_logger()

LINES = Gauge("clawstead_edge_routes", "Lines of the table that is served")
FAILING = Gauge("clawstead_edge_publish_failing", "1 while the newest table cannot be published")

_LONGEST_PAUSE_SECONDS = 60.0
_CROWDED_PAUSE_SECONDS = 1800.0
_LOOK_SECONDS = 1.0
_SETTLE_SECONDS = 15.0


class MapPublisher:
    """Keeps what the edge serves equal to what is ``wanted``."""

    def __init__(
        self,
        edge: Edge,
        wanted: Callable[[], Routes],
        *,
        interval: timedelta = timedelta(seconds=1),
        check: timedelta = timedelta(seconds=10),
        report: Report = lambda _: None,
    ) -> None:
        self._edge = edge
        self._wanted = wanted
        self._interval = interval.total_seconds()
        self._check = check.total_seconds()
        self._report = report
        self._changed = asyncio.Event()
        self._urgent = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []
        self._in_flight: list[Mapping[str, Upstream | None]] = []
        self._published_at = -_CROWDED_PAUSE_SECONDS

    def wake(self) -> None:
        """Say that the table may have changed."""
        self._changed.set()

    async def settled(self) -> None:
        """Have the table published without waiting for its turn; return when it is served.

        Raises:
            TransientError: it could not be published now.
        """
        served = asyncio.get_running_loop().create_future()
        self._waiting.append(served)
        self._urgent.set()
        self._changed.set()
        try:
            async with asyncio.timeout(_SETTLE_SECONDS):
                await served
        except TimeoutError as error:
            raise TransientError("the table was not published in time") from error

    def leads_elsewhere(self, label: str, upstream: Upstream) -> bool:
        """Say whether some worker may send ``label`` to another upstream, now or after a loss of power.

        A missing line leads nowhere wrong.
        """
        served, stored = self._edge.served, self._edge.stored
        if served is None or stored is None:
            return True
        lines = (table.get(label) for table in (served.routes, stored.routes, *self._in_flight))
        return any(line is not None and line != upstream for line in lines)

    async def lead(self, label: str, upstream: Upstream | None) -> None:
        """Have ``label`` lead to ``upstream`` at once where the edge can, else with the next table."""
        line = {label: upstream}
        self._in_flight.append(line)
        try:
            await self._edge.lead(label, upstream)
        finally:
            self._in_flight.remove(line)
            self.wake()

    async def run(self) -> None:
        """Publish whenever the table or its file differs from what it should be; for ever.

        Before the first word about the table nobody knows what it should be, and what is served goes on.
        """
        backoff = Backoff()
        await self._changed.wait()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._check):
                    await self._changed.wait()
            await self._edge.up()
            try:
                await self._round()
            except (HandlingError, OSError) as error:
                FAILING.set(1)
                why = explained(error)
                log.error("the table is not published", error=why)  # noqa: TRY400 - expected, and said in full
                self._report(f"the newest table is not published, the last good one is served: {why}")
                self._answer(TransientError(f"the table is not published: {why}"))
                await asyncio.sleep(backoff.next())
                self._changed.set()
            else:
                FAILING.set(0)
                self._report(None)
                backoff.reset()

    async def _round(self) -> None:
        self._changed.clear()
        if await self._differs():
            await self._turn()
            self._changed.clear()
            self._urgent.clear()
            waiting, routes = len(self._waiting), self._wanted()
            self._in_flight.append(routes)
            try:
                await self._edge.publish(routes)
            finally:
                self._in_flight.remove(routes)
                self._published_at = asyncio.get_running_loop().time()
            LINES.set(len(routes))
            self._answer(None, first=waiting)
        elif not self._changed.is_set():
            self._urgent.clear()
            self._answer(None)

    async def _differs(self) -> bool:
        served, stored, wanted = self._edge.served, self._edge.stored, self._wanted()
        if served is None or stored is None:
            return True
        return served.routes != wanted or stored.routes != wanted or not await self._edge.intact()

    async def _turn(self) -> None:
        clock = asyncio.get_running_loop().time
        while not self._urgent.is_set() and (remaining := self._published_at + self._pause() - clock()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(remaining, _LOOK_SECONDS)):
                    await self._urgent.wait()

    def _pause(self) -> float:
        if self._edge.crowded:
            return _CROWDED_PAUSE_SECONDS
        return min(self._interval * (1 + self._edge.draining), _LONGEST_PAUSE_SECONDS)

    def _answer(self, error: TransientError | None, *, first: int | None = None) -> None:
        waiting = self._waiting[:first]
        del self._waiting[:first]
        for served in waiting:
            if served.done():
                continue
            if error:
                served.set_exception(error)
            else:
                served.set_result(None)
