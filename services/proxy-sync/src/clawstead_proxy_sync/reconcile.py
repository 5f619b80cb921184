"""Makes the edge follow the observations: gates at once, the table through the publisher, then the fact.

Everything follows from the newest observation of an instance, read when it is needed. An event only says
whose to read, so duplicates, old ones and lost ones end in the same table.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Protocol, cast
from weakref import WeakValueDictionary

import structlog
from opentelemetry import trace
from prometheus_client import Gauge

from clawstead_proxy_sync.errors import UnroutableError
from clawstead_proxy_sync.facts import RouteFacts
from clawstead_proxy_sync.log_view import (
    Seen,
    Word,
    Words,
    catch_up,
    changes,
    check_loss,
    claims_of,
    digest_of,
    unknown_lines,
    words,
)
from clawstead_proxy_sync.nginx_map import Upstream
from clawstead_proxy_sync.ports import Edge
from clawstead_proxy_sync.publisher import MapPublisher
from clawstead_proxy_sync.routing import RouteTable
from clawstead_shared.control import Effect, RebuildReport
from clawstead_shared.errors import TransientError
from clawstead_shared.events import Event, Observed, Route
from clawstead_shared.messaging import EventReader, EventSink
from clawstead_shared.subjects import Topic

KEPT = Gauge("clawstead_edge_routes_kept", "Routes that go on although the log knows nothing of their instances")

log = structlog.get_logger()
tracer = trace.get_tracer("clawstead.proxy_sync")


class Events(EventReader, EventSink, Protocol):
    """The bus: where observations are read and routes are told."""


class RouteKeeper:
    """Keeps edge and route events equal to what the instances are."""

    def __init__(
        self, table: RouteTable, edge: Edge, publisher: MapPublisher, events: Events, hostname: Callable[[str], str]
    ) -> None:
        self._table = table
        self._edge = edge
        self._publisher = publisher
        self._events = events
        self._hostname = hostname
        self._open: set[str] = set()
        self._seen: dict[str, Seen] = {}
        self._followed: dict[str, Seen] = {}
        self._facts = RouteFacts(events)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def upstream(self, label: str) -> Upstream | None:
        """Return where requests for ``label`` go now, None while they may not."""
        return self._table.upstream(label)

    async def boot(self) -> None:
        """Rebuild table, gates and map from the newest observations, and tell what changed meanwhile.

        What the edge served before goes on where the log knows nothing of it: the log may have been lost.

        Raises:
            TransientError: bus or edge did not do their part now.
        """
        await self._facts.restore(self._events)
        observed = await words(self._events)
        for word in observed.values():
            self._take(word)
            if word.refusal:
                log.error("instance cannot be routed", instance_id=word.instance_id, error=word.refusal)
        self._keep_unknown(observed)
        await self._serve()
        await self._follow(observed)
        log.info("routes rebuilt", instances=len(observed), open=len(self._open), kept=len(self._table.kept))

    async def rebuild(self) -> RebuildReport:
        """Drop the table, and make table, map and gates again from the log alone, while the old ones are served.

        Raises:
            RefusedError: the log knows nothing of many routes that are served.
            TransientError: bus or edge did not do their part now.
        """
        begun = time.perf_counter()
        before = await self._digest()
        served = {label for label in self._table.labels() if self.upstream(label)}
        observed = await words(self._events)
        check_loss(observed, served)
        claims = claims_of(observed)
        # No await until the exchange is done: whoever reads the table finds the old one or the new one.
        catch_up(claims, observed, self._seen, self._table)
        self._table.replace(claims)
        await self._serve()
        await self._follow(observed)
        after, entries, seconds = await self._digest(), len(self._table.labels()), time.perf_counter() - begun
        log.info("routes rebuilt from the log", routes=entries, equal=before == after)
        return RebuildReport(before=before, after=after, entries=entries, seconds=seconds)

    async def renew(self) -> None:
        """Tell again of every route whose observation comes again: the log that held what was told was lost.

        Raises:
            TransientError: bus or edge did not do their part now.
        """
        self._facts.clear()
        self._seen.clear()
        self._followed.clear()
        await self.resync()

    async def foresee(self, instance_id: str) -> list[Effect]:
        """Return what following the newest observation of an instance would do now, and do nothing.

        Raises:
            TransientError: the bus did not answer.
        """
        event = cast("Event[Observed] | None", await self._events.newest(Topic.OBSERVED, instance_id))
        if event is None:
            return []
        word = Word.of(event)
        if word.refusal:
            return [Effect(instance_id=instance_id, action="set event aside", detail=word.refusal)]
        effects, table = [], self._table
        if word.claim != table.get(instance_id) or word.subdomain in table.kept:
            table = table.copy()
            touched = table.put(instance_id, word.claim) | table.forget(word.subdomain)
            effects = changes(instance_id, self._table, table, sorted(touched))
        route = self._route_of(word, table)
        if self._facts.are_news(route):
            detail = f"{route.hostname} {'leads to ' + str(route.upstream) if route.active else 'is closed'}"
            effects.append(Effect(instance_id=instance_id, action="publish route", detail=detail))
        return effects

    async def _serve(self) -> None:
        self.repair_gates()
        await self._publisher.settled()
        self.repair_gates()
        self._followed = {name: seen for name, seen in self._seen.items() if self._table.get(name)}
        KEPT.set(len(self._table.kept))

    def _keep_unknown(self, observed: Words) -> None:
        served = self._edge.served.routes if self._edge.served else {}
        self._table.keep(unknown_lines(observed, served, self._edge.open_gates(), self._edge.pages()))
        if kept := len(self._table.kept):
            log.error("routes that the log does not know go on: have the API resync, then rebuild", routes=kept)

    async def _digest(self) -> str:
        intact = await self._edge.intact()
        gates, pages = self._edge.open_gates(), self._edge.pages()
        return await asyncio.to_thread(digest_of, self._table.routes(), gates, pages, intact=intact)

    async def resync(self) -> None:
        """Catch up with observations whose events never came, and with routes that could not be told.

        Raises:
            TransientError: bus or edge did not do their part now.
        """
        await self._follow(await words(self._events))

    async def _follow(self, observed: Words) -> None:
        for instance_id, word in observed.items():
            if self._seen.get(instance_id) != word.seen:
                with contextlib.suppress(UnroutableError):  # its event is set aside
                    await self.refresh(instance_id)
            elif self._facts.are_news(self._route_of(word)):
                async with self._locks.setdefault(instance_id, asyncio.Lock()):
                    if self._seen.get(instance_id) == word.seen:
                        await self._facts.tell(self._route_of(word))
        for route in self._facts.active_beyond(observed.keys()):
            if self.upstream(route.hostname.partition(".")[0]) is None:
                await self._facts.tell(route.model_copy(update={"active": False, "upstream": None}))

    async def refresh(self, instance_id: str, *, hint: Event[Observed] | None = None, cascade: bool = True) -> None:
        """Follow the newest observation of one instance, unless a later one than ``hint`` is followed already.

        Raises:
            UnroutableError: its name or address must not reach the table; it has no route now.
            TransientError: bus or edge did not do their part now.
        """
        lock = self._locks.setdefault(instance_id, asyncio.Lock())
        at_once = not lock.locked()
        async with lock:
            if hint is not None and self._is_behind(hint):
                return
            if hint is not None and at_once and self._is_newest(hint):
                observed: Event[Observed] | None = hint
            else:
                observed = cast("Event[Observed] | None", await self._events.newest(Topic.OBSERVED, instance_id))
            if observed is None:
                return
            word = Word.of(observed)
            attributes = {"clawstead.instance": instance_id, "clawstead.phase": observed.data.phase.value}
            with tracer.start_as_current_span("route.follow", attributes=attributes):
                labels = self._take(word)
                # What may no longer be reached first: another may have its upstream now.
                for label in labels:
                    self._close_unless_right(label)
                for label in sorted(labels, key=lambda label: self.upstream(label) is not None):
                    await self._settle(label)
                await self._facts.tell(self._route_of(word))
                if word.refusal is None:
                    self._followed[instance_id] = word.seen
        if cascade:
            rivals = {rival for label in labels for rival in self._table.claimants(label)} - {instance_id}
            for rival in rivals:
                await self.refresh(rival, cascade=False)
        if word.refusal:
            raise UnroutableError(word.refusal)

    def _is_behind(self, event: Event[Observed]) -> bool:
        followed = self._followed.get(event.instance_id)
        return followed is not None and event.sequence is not None and event.sequence <= followed.sequence

    def _is_newest(self, event: Event[Observed]) -> bool:
        # What was the last word when it was handed over, unless the log was read since: then it need not be asked.
        seen = self._seen.get(event.instance_id)
        return event.newest and (seen is None or event.sequence is None or seen.sequence <= event.sequence)

    def repair_gates(self) -> None:
        """Make gates and pages what they should be, whoever changed them."""
        found, pages, labels = self._edge.open_gates(), self._edge.pages(), set(self._table.labels())
        # While nobody knows what is served, what was opened rightly stays open.
        unsure = self._edge.served is None
        wanted = {label for label in labels if self._may_open(label) or (unsure and label in found & self._open)}
        mistaken = {name for name in pages.keys() | labels if pages.get(name) is not self._table.page(name)}
        for name in (found | mistaken) - wanted:
            self._edge.close_gate(name, self._table.page(name))
        for label in wanted - found:
            self._edge.open_gate(label)
        if found != self._open and self._open:
            log.warning("gates were changed by somebody else", unexpected=len(found - wanted), lost=len(wanted - found))
        self._open = wanted

    def _may_open(self, label: str) -> bool:
        upstream = self.upstream(label)
        return upstream is not None and not self._publisher.leads_elsewhere(label, upstream)

    def _take(self, word: Word) -> set[str]:
        self._seen[word.instance_id] = word.seen
        return self._table.put(word.instance_id, word.claim) | self._table.forget(word.subdomain)

    def _close_unless_right(self, label: str) -> None:
        if not self._may_open(label):
            self._edge.close_gate(label, self._table.page(label))
            self._open.discard(label)

    async def _settle(self, label: str) -> None:
        await self._publisher.lead(label, self._table.line(label))
        claim = self._table.owner(label)
        if claim is None or claim.upstream is None:
            return
        if not self._may_open(label):
            # Some worker still sends this name to another upstream: the gate waits for the table.
            await self._publisher.settled()
            if self._table.owner(label) is not claim:
                return
            if not self._may_open(label):
                raise TransientError(f"the table does not lead {label} to its instance yet")
        self._edge.open_gate(label)
        self._open.add(label)

    def _route_of(self, word: Word, table: RouteTable | None = None) -> Route:
        foreseen, table = table is not None and table is not self._table, table or self._table
        claim = table.get(word.instance_id)
        owned = claim is not None and table.owner(claim.label) is claim
        upstream = claim.upstream if claim and owned and (foreseen or claim.label in self._open) else None
        return Route(
            instance_id=word.instance_id,
            generation=word.generation,
            hostname=self._hostname(word.subdomain),
            upstream=str(upstream) if upstream else None,
            active=upstream is not None,
            map_generation=self._edge.served.generation if self._edge.served else 0,
        )
