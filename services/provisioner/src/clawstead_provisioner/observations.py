"""What is said about instances: built here, published on change only, in the order it happened."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime

import structlog
from prometheus_client import Gauge

from clawstead_provisioner.crashpoints import Place, crashpoint
from clawstead_provisioner.image_profiles import ImageProfile
from clawstead_provisioner.memory import Memory
from clawstead_provisioner.ports import Container
from clawstead_provisioner.versions import same, wanted_image
from clawstead_shared.errors import TransientError
from clawstead_shared.events import (
    Desired,
    Event,
    EventType,
    ExitCause,
    ImageVersion,
    Observed,
    Payload,
    Phase,
    Progress,
    Reason,
    RejectedImage,
    Warning,
)
from clawstead_shared.messaging import EventReader, EventSink
from clawstead_shared.subjects import Topic

log = structlog.get_logger()

SOURCE = "provisioner"
INSTANCES = Gauge("clawstead_instances", "Instances by observed phase", ["phase"])

_ATTEMPTS = 3
_PAUSE_SECONDS = 0.2


class Observations:
    """The provisioner's topic."""

    def __init__(self, sink: EventSink, reader: EventReader, host: str) -> None:
        self.sink = sink
        self.reader = reader
        self.host = host

    async def recall(self, instance_id: str, memory: Memory) -> None:
        """Learn what was said last, unless that is known.

        Raises:
            TransientError: the bus did not answer.
        """
        if not memory.loaded:
            event = await self.reader.newest(Topic.OBSERVED, instance_id)
            self.restore(memory, event)

    @staticmethod
    def restore(memory: Memory, event: Event[Payload] | None) -> None:
        """Take over what was said last, read by whoever calls."""
        if event is not None and isinstance(event.data, Observed):
            memory.last = event.data
            memory.said_at = memory.clock() - max((datetime.now(UTC) - event.time).total_seconds(), 0)
            _count(event.data.phase, 1)
        memory.loaded = True

    async def publish(
        self,
        desired: Desired,
        memory: Memory,
        phase: Phase,
        *,
        profile: ImageProfile,
        container: Container | None = None,
        port: int | None = None,
        started: bool = False,
        unasked: int = 0,
        reason: Reason | None = None,
        message: str | None = None,
        exit_cause: ExitCause | None = None,
        progress: Progress | None = None,
        image: ImageVersion | None = None,
        rejected: RejectedImage | None = None,
        warnings: tuple[Warning, ...] = (),
    ) -> None:
        """Say that an instance is in ``phase``, unless that was said last.

        ``started`` says that the container's present start is the one meant; ``unasked`` is the number
        of starts since the last word that nobody asked for.

        Raises:
            TransientError: the bus did not confirm; it may or may not be said.
        """
        last = memory.last
        port = port or (container.port if container else None) or (last.port if last else None)
        if phase is Phase.REMOVED:
            image = rejected = None
        elif phase is Phase.RUNNING and reason is None and _went_back(desired, rejected):
            reason, message = Reason.UPDATE_ROLLED_BACK, rejected.message if rejected else None
        restarts = last.restart_count if last and phase not in {Phase.STOPPED, Phase.REMOVED} else 0
        await self._say(
            memory,
            Observed(
                instance_id=desired.instance_id,
                generation=desired.generation,
                phase=phase,
                reason=reason,
                message=message,
                subdomain=desired.spec.subdomain,
                owner_id=desired.spec.owner_id,
                container_id=container.id if container else None,
                started_at=container.started_at if container and started else None,
                host=self.host if port and phase is not Phase.REMOVED else None,
                port=port if phase is not Phase.REMOVED else None,
                boot_grace_seconds=desired.spec.limits.boot_grace_seconds,
                image_digest=container.image_digest if container else None,
                restart_count=restarts + unasked,
                exit=exit_cause or (last.exit if last and phase is not Phase.REMOVED else None),
                progress=progress,
                startup_path=profile.startup_path,
                health_path=profile.health_path,
                image=image,
                rejected=rejected,
                warnings=warnings,
            ),
        )

    async def publish_end(self, memory: Memory, last: Observed, cause: ExitCause) -> None:
        """Say of a serving instance that it ended unasked and will start again, before anything else is known.

        Raises:
            TransientError: the bus did not confirm; it may or may not be said.
        """
        reason = Reason.OUT_OF_MEMORY if cause.oom_killed else None
        news = {"phase": Phase.STARTING, "reason": reason, "message": None, "exit": cause, "progress": None}
        await self._say(memory, last.model_copy(update=news))

    async def repeat(self, memory: Memory) -> None:
        """Say again what was said last, to a log that does not hold it.

        Raises:
            TransientError: the bus did not confirm; it may or may not be said.
        """
        if memory.last is not None:
            await self._store(Event(EventType.of(memory.last), SOURCE, memory.last))
        memory.unsaid = False

    async def _say(self, memory: Memory, observed: Observed) -> None:
        previous = memory.last
        if observed == previous:
            return
        await self._store(Event(EventType.of(observed), SOURCE, observed))
        crashpoint(Place.PHASE_SAID)
        memory.last = observed
        if previous is None or previous.phase is not observed.phase:
            memory.said_at = memory.clock()
        if previous is not None:
            _count(previous.phase, -1)
        _count(observed.phase, 1)
        log.info("observed", **_context(observed))

    async def _store(self, event: Event[Payload]) -> None:
        for attempt in range(_ATTEMPTS):
            try:
                # The same event again: whether an unconfirmed one was stored cannot be known.
                await self.sink.publish(event)
            except TransientError:
                if attempt == _ATTEMPTS - 1:
                    raise
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                return


def _went_back(desired: Desired, rejected: RejectedImage | None) -> bool:
    return rejected is not None and same(rejected, wanted_image(desired))


def _count(phase: Phase, change: int) -> None:
    if phase is not Phase.REMOVED:
        INSTANCES.labels(phase.value).inc(change)


def _context(observed: Observed) -> Mapping[str, object]:
    return {
        "instance_id": observed.instance_id,
        "generation": observed.generation,
        "phase": observed.phase.value,
        "reason": observed.reason.value if observed.reason else None,
        "detail": observed.message,
        "port": observed.port,
    }
