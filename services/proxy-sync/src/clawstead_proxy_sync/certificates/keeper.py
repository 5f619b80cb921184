"""Keeps the domain's certificate: has it served, proves that, orders the next in time, tells operators.

    watch   looks at what the source has now, every few seconds: a lost or new one is served at once
    work    the one owner of orders: at their time, or when an operator asks

Neither waits for the bus: a certificate must not expire because nobody can be told.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from clawstead_proxy_sync.certificates.failures import CertificateError, Reason
from clawstead_proxy_sync.certificates.order import Order, Source
from clawstead_proxy_sync.certificates.schedule import Memory, Terms, after_failure, after_success, due, is_news
from clawstead_proxy_sync.certificates.telling import Bulletin
from clawstead_proxy_sync.errors import explained
from clawstead_proxy_sync.ports import Certificate, CertificateSource, Recollection, Visitor
from clawstead_shared.control import CertificateFailure, CertificateReport, CertificateRequest
from clawstead_shared.errors import HandlingError, TransientError
from clawstead_shared.messaging.control import RefusedError

log = structlog.get_logger()

Serve = Callable[[Certificate], Awaitable[None]]

_PROOF_SECONDS = 10.0
_PROOF_STEP_SECONDS = 0.1
_LONGEST_SLEEP_SECONDS = 60.0
_ERRORS = (CertificateError, HandlingError, OSError)


@dataclass(slots=True)
class _Job:
    request: CertificateRequest
    report: "asyncio.Future[CertificateReport]"


class CertificateKeeper:
    """One certificate, of one source, at one edge."""

    def __init__(
        self,
        source: CertificateSource,
        serve: Serve,
        *,
        order: Order,
        settings: str,
        visitor: Visitor,
        recollection: Recollection,
        bulletin: Bulletin,
        interval: timedelta,
        look_every: timedelta,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """``settings`` is a digest of what an order depends on: when that changes, one that failed is tried again."""
        self._order = order
        self._source = source
        self._serve = serve
        self._visitor = visitor
        self._recollection = recollection
        self._bulletin = bulletin
        self._interval = interval
        self._look_every = look_every
        self._clock = clock
        self._settings = settings
        self._memory = recollection.load()
        self._current: Certificate | None = None
        self._looking = asyncio.Lock()
        self._job: _Job | None = None
        self._asked = asyncio.Event()
        self._working = False

    async def run(self, edge_up: Callable[[], Awaitable[None]]) -> None:
        """Keep the certificate until cancelled; orders begin once the edge runs."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch(), name="certificate watch")
            group.create_task(self._work(edge_up), name="certificate work")

    async def answer(self, request: CertificateRequest) -> CertificateReport:
        """Do what an operator asks, and return what is true then. Takes minutes if a certificate is ordered.

        Raises:
            RefusedError: one is being ordered already.
            HandlingError: what is served could not be found out now.
        """
        if request.action == "status":
            return await self._report()
        if self._job or self._working:
            hint = "ask again in a moment: `clawstead certs status` shows what came of it"
            raise RefusedError("a certificate is being ordered right now", hint=hint)
        self._job = job = _Job(request, asyncio.get_running_loop().create_future())
        self._asked.set()
        return await asyncio.shield(job.report)

    async def look(self) -> bool:
        """Have what the source has now served, and return whether visitors see it.

        Raises:
            HandlingError: the edge did not take it over.
            OSError: it cannot be read or stored.
        """
        async with self._looking:
            certificate = await self._source.current()
            if self._current is None or certificate.digest != self._current.digest:
                await self._serve(certificate)
            self._current = certificate
            if self._due():
                self._asked.set()
            shown = await self._visitor.fingerprint() == certificate.facts.fingerprint
            self._remember(self._bulletin.after_look(self._memory, certificate, shown=shown, now=self._clock()))
            return shown

    async def _watch(self) -> None:
        while True:
            try:
                await self.look()
            except (HandlingError, OSError) as error:
                log.warning("the certificate is looked at again", error=str(error))
            await asyncio.sleep(self._look_every.total_seconds())

    async def _work(self, edge_up: Callable[[], Awaitable[None]]) -> None:
        await edge_up()
        while True:
            if job := self._job:
                await self._do(job)
                self._job = None
            elif self._due():
                await self._attempt(CertificateRequest(action="renew"))
            try:
                async with asyncio.timeout(self._pause()):
                    await self._asked.wait()
            except TimeoutError:
                continue
            self._asked.clear()

    def _due(self) -> bool:
        if self._order.source is Source.LOCAL:
            return self._due_here()
        if self._current and self._current.local and self._memory.failure is None:  # none yet, or it was lost
            return True
        return due(self._memory, self._terms())

    def _due_here(self) -> bool:
        # The local one is renewed by being looked at: an order finds out why it was not, and that it is by now.
        failure = self._memory.failure
        if self._current is None or not (failure or self._current.overdue):
            return False
        stored = failure is not None and failure.reason == Reason.STORAGE and not self._current.overdue
        return stored or due(self._memory, self._terms())

    def _pause(self) -> float:
        # In short sleeps: the machine may be suspended, and its clock may be set.
        if self._order.source is Source.LOCAL or self._memory.next_at is None:
            return _LONGEST_SLEEP_SECONDS
        return min(max((self._memory.next_at - self._clock()).total_seconds(), 0.0), _LONGEST_SLEEP_SECONDS)

    async def _do(self, job: _Job) -> None:
        before = self._current
        failure = self._held_back(job.request) or await self._attempt(job.request)
        try:
            report = await self._report()
        except HandlingError as error:
            job.report.set_exception(error)
            return
        changed = report.served and before is not None and report.serial != before.facts.serial
        job.report.set_result(report.model_copy(update={"changed": changed, "failure": failure}))

    def _held_back(self, request: CertificateRequest) -> CertificateFailure | None:
        failure = self._memory.failure
        limited = failure is not None and failure.reason == Reason.RATE_LIMITED and failure.retry_at is not None
        if not limited or request.force or request.dry_run or failure is None or failure.retry_at is None:
            return None
        return failure if self._clock() < failure.retry_at else None

    async def _attempt(self, request: CertificateRequest) -> CertificateFailure | None:
        """Order once; return why nothing came of it, None after a success."""
        self._working = True
        try:
            await self._obtain(request)
        except _ERRORS as error:
            return self._failed(_as_failure(error), request)
        finally:
            self._working = False
        self._bulletin.succeeded(dry_run=request.dry_run, now=self._clock())
        if not request.dry_run:
            self._remember(after_success(self._memory, self._terms()))
        return None

    async def _obtain(self, request: CertificateRequest) -> None:
        options = {"issue": request.action == "issue", "dry_run": request.dry_run, "force": request.force}
        try:
            await self._source.obtain(**options)
        except CertificateError as error:
            if not error.at_once:
                raise
            await self._source.obtain(**options)
        if not request.dry_run:
            await self._prove()

    async def _prove(self) -> None:
        deadline = asyncio.get_running_loop().time() + _PROOF_SECONDS
        while not await self.look():
            if asyncio.get_running_loop().time() > deadline:
                raise CertificateError(Reason.NOT_SERVED, "visitors are not shown the certificate that is stored")
            await asyncio.sleep(_PROOF_STEP_SECONDS)

    def _failed(self, error: CertificateError, request: CertificateRequest) -> CertificateFailure:
        now = self._clock()
        self._bulletin.failed(error, dry_run=request.dry_run)
        if request.dry_run:
            return error.told(now, None)
        memory = after_failure(self._memory, error, self._terms())
        if is_news(memory):
            memory = self._bulletin.tell_failure(memory, error)
        self._remember(memory)
        return memory.failure or error.told(now, None)

    def _terms(self) -> Terms:
        return Terms(self._clock(), self._settings, self._interval, _jitter())

    def _remember(self, memory: Memory) -> None:
        if memory != self._memory:
            self._memory = memory
            self._recollection.store(memory)

    async def _report(self) -> CertificateReport:
        try:
            served = await self.look()
        except (HandlingError, OSError) as error:
            raise TransientError(f"what is served cannot be found out: {explained(error)}") from error
        local = self._order.source is Source.LOCAL
        facts = self._current.facts if self._current else None
        by_ourselves = local or (self._current is not None and self._current.local)
        return CertificateReport(
            source=self._order.source,
            authority=None if by_ourselves else self._order.authority,
            names=facts.names if facts else (),
            issuer=facts.issuer if facts else None,
            serial=facts.serial if facts else None,
            not_before=facts.not_before if facts else None,
            not_after=facts.not_after if facts else None,
            served=served,
            next_check_at=None if local else self._memory.next_at,
            failure=self._memory.failure,
        )


def _jitter() -> float:
    return random.uniform(-1.0, 1.0)  # noqa: S311 - spreads load, guards nothing


def _as_failure(error: Exception) -> CertificateError:
    if isinstance(error, CertificateError):
        return error
    return CertificateError(Reason.STORAGE if isinstance(error, OSError) else Reason.NOT_SERVED, str(error))
