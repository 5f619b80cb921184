"""The monitor: keeps what is known of every instance, judges its probes, publishes verdicts that changed."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import cast

import structlog
from opentelemetry import trace
from prometheus_client import Gauge

from clawstead_health.log_view import digest_of, foreseen, is_news, standing_of
from clawstead_health.ports import Bus, Check, Gateway, History
from clawstead_health.prober import Prober
from clawstead_health.verdict import Standing, after_observation, after_probe
from clawstead_shared.control import Effect, RebuildReport
from clawstead_shared.errors import TransientError
from clawstead_shared.events import Event, EventType, Health, Observed, Payload, Phase, Verdict
from clawstead_shared.messaging.control import RefusedError
from clawstead_shared.subjects import Topic
from clawstead_shared.telemetry import continued_trace

SOURCE = "health"
_REBUILDS_AT_ONCE = 16

INSTANCES = Gauge("clawstead_health_instances", "Instances by verdict", ["verdict"])

log = structlog.get_logger()
tracer = trace.get_tracer(__name__)


@dataclass(slots=True)
class Target:
    """One instance. Whoever holds ``lock`` may change it; so its verdicts are published in order."""

    observed: Event[Observed]
    standing: Standing
    published: Health | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Monitor:
    """Watches every instance that should run."""

    def __init__(
        self,
        bus: Bus,
        gateway: Gateway,
        history: History,
        *,
        interval: timedelta,
        interval_starting: timedelta,
        concurrency: int,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._bus = bus
        self._gateway = gateway
        self._history = history
        self._interval_starting = interval_starting
        self._now = now
        self._targets: dict[str, Target] = {}
        self.prober = Prober(self.probe, interval=interval, concurrency=concurrency)
        for verdict in Verdict:
            INSTANCES.labels(verdict).set_function(partial(self._count, verdict))

    def standing(self, instance_id: str) -> Standing | None:
        """Return what is known of one instance, None for one that is not watched."""
        target = self._targets.get(instance_id)
        return target.standing if target else None

    async def on_observed(self, event: Event[Observed]) -> None:
        """Handle the news that an instance was observed, by looking at the newest observation of it.

        Raises:
            TransientError: the bus did not answer, or did not take the verdict.
        """
        target = self._targets.get(event.instance_id)
        if target is None:
            # Never with the event itself, which may be old: its port may be another instance's by now.
            target = await self._adopt(await self._newest(event.instance_id) or event)
        async with target.lock:
            newest = await self._newest(event.instance_id)
            if newest is not None:
                self._learn(target, newest)
            await self._publish(target)

    async def foresee(self, events: Sequence[Event[Payload]]) -> list[Effect]:
        """Return what handling ``events`` would do now, and do nothing.

        Raises:
            TransientError: the bus did not answer.
        """
        effects = []
        for instance_id in sorted({event.instance_id for event in events}):
            newest, target = await self._newest(instance_id), self._targets.get(instance_id)
            if newest is None:
                continue
            published = target.published if target else await self._published(instance_id)
            effects += foreseen(newest, target.standing if target else None, published)
        return effects

    async def rebuild(self) -> RebuildReport:
        """Drop what is known of every instance, and learn it again from the log; probes go on.

        Raises:
            RefusedError: the log holds nothing, although instances are watched.
            TransientError: the bus did not answer, or did not take a verdict.
        """
        begun, before = time.perf_counter(), self._digest()
        observations = cast("dict[str, Event[Observed]]", await self._bus.snapshot(Topic.OBSERVED))
        if self._targets and not observations:
            raise RefusedError(
                f"the log holds nothing, but {len(self._targets)} instances are watched",
                hint="run `clawstead resync` first",
            )
        verdicts = cast("dict[str, Event[Health]]", await self._bus.snapshot(Topic.HEALTH))
        over = {name for name, event in observations.items() if _over(event, _health_of(verdicts.get(name)))}
        places = asyncio.Semaphore(_REBUILDS_AT_ONCE)
        known = (observations.keys() - over) | self._targets.keys()
        await asyncio.gather(*(self._relearn(instance_id, places) for instance_id in known))
        seconds = time.perf_counter() - begun
        return RebuildReport(before=before, after=self._digest(), entries=len(self._targets), seconds=seconds)

    async def renew(self) -> None:
        """Tell every verdict again: the log that held them was lost.

        Raises:
            TransientError: the bus did not take a verdict.
        """
        for target in list(self._targets.values()):
            async with target.lock:
                target.published = None
                await self._publish(target)

    async def resync(self) -> None:
        """Compare the watch list with the newest observation of every instance, and learn what differs.

        Raises:
            TransientError: the bus did not answer, or did not take a verdict.
        """
        observations = cast("dict[str, Event[Observed]]", await self._bus.snapshot(Topic.OBSERVED))
        verdicts = cast("dict[str, Event[Health]]", await self._bus.snapshot(Topic.HEALTH))
        for instance_id, event in observations.items():
            target = self._targets.get(instance_id)
            if target is not None:
                if target.observed.id != event.id:
                    await self.on_observed(event)
            elif not _over(event, verdict := _health_of(verdicts.get(instance_id))):
                target = self._add(event, verdict)
                async with target.lock:
                    await self._publish(target)

    async def probe(self, instance_id: str) -> timedelta | None:
        """Probe one instance once and judge it; return how soon to look again, None for its usual time."""
        target = self._targets.get(instance_id)
        if target is None or (start := target.standing.start) is None:
            return None
        observed = target.observed.data
        if observed.host is None or observed.port is None:
            return None
        starting = target.standing.verdict is Verdict.STARTING
        path = observed.startup_path if starting else observed.health_path
        result = await self._gateway.probe(observed.host, observed.port, path)
        async with target.lock:
            if target.standing.start != start:
                return None  # the answer is about an earlier start
            at = self._now()
            target.standing = after_probe(target.standing, result, at)
            self._history.record(Check(instance_id, observed.owner_id or instance_id, result, at))
            try:
                await self._publish(target)
            except TransientError as error:
                log.warning("verdict will be published with the next probe", instance_id=instance_id, error=str(error))
        starting = target.standing.verdict is Verdict.STARTING and target.observed.data.phase is Phase.RUNNING
        return self._interval_starting if starting else None

    async def _newest(self, instance_id: str) -> Event[Observed] | None:
        return cast("Event[Observed] | None", await self._bus.newest(Topic.OBSERVED, instance_id))

    async def _published(self, instance_id: str) -> Health | None:
        event = await self._bus.newest(Topic.HEALTH, instance_id)
        return cast("Health", event.data) if event else None

    async def _adopt(self, event: Event[Observed]) -> Target:
        published = await self._published(event.instance_id)
        return self._targets.get(event.instance_id) or self._add(event, published)

    async def _relearn(self, instance_id: str, places: asyncio.Semaphore) -> None:
        # In place and under the lock: a probe that is under way goes on with what was learnt.
        async with places:
            target, newest = self._targets.get(instance_id), await self._newest(instance_id)
            if newest is None:
                self._targets.pop(instance_id, None)
                self.prober.forget(instance_id)
                return
            target = target or await self._adopt(newest)
            async with target.lock:
                target.published = await self._published(instance_id)
                target.observed = await self._newest(instance_id) or newest
                target.standing = standing_of(target.observed, target.published)
                self._watch(target, at_once=False)
                await self._publish(target)

    def _digest(self) -> str:
        known = {
            instance_id: (target.standing.verdict, target.standing.start)
            for instance_id, target in self._targets.items()
        }
        return digest_of(known)

    def _add(self, event: Event[Observed], published: Health | None) -> Target:
        target = Target(event, standing_of(event, published), published)
        standing = target.standing
        self._targets[event.instance_id] = target
        self._watch(target, at_once=standing.verdict is Verdict.STARTING)
        return target

    def _learn(self, target: Target, newest: Event[Observed]) -> None:
        news = newest.id != target.observed.id
        target.observed = newest
        target.standing = after_observation(target.standing, newest.data, newest.time)
        if news:
            self._watch(target, at_once=newest.data.phase is Phase.RUNNING)

    def _watch(self, target: Target, *, at_once: bool) -> None:
        instance_id = target.observed.instance_id
        if target.standing.start is not None:
            self.prober.watch(instance_id, at_once=at_once)
        else:
            self.prober.forget(instance_id)

    async def _publish(self, target: Target) -> None:
        observed, standing = target.observed, target.standing
        if is_news(target.published, standing):
            health = _health(observed.instance_id, standing)
            with (
                continued_trace(observed.traceparent),
                tracer.start_as_current_span("health.verdict", attributes={"verdict": health.verdict}),
            ):
                await self._bus.publish(Event(EventType.VERDICT_CHANGED, SOURCE, health))
                log.info("verdict", instance_id=observed.instance_id, verdict=health.verdict, error=health.error)
            target.published = health
        if observed.data.phase is Phase.REMOVED:
            self._targets.pop(observed.instance_id, None)

    def _count(self, verdict: Verdict) -> int:
        return sum(target.standing.verdict is verdict for target in self._targets.values())


def _health_of(event: Event[Health] | None) -> Health | None:
    return event.data if event else None


def _over(event: Event[Observed], published: Health | None) -> bool:
    told = published is None or published.verdict is Verdict.STOPPED
    return event.data.phase is Phase.REMOVED and told


def _health(instance_id: str, standing: Standing) -> Health:
    return Health(
        instance_id=instance_id,
        verdict=standing.verdict,
        since=standing.since,
        container_id=standing.container_id,
        failures=standing.failures,
        response_ms=standing.response_ms,
        error=standing.error,
    )
