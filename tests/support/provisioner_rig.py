"""A provisioner without its process: the real rules around whatever outside world a test gives it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clawstead_provisioner.app import BusPorts, EnginePorts, assemble
from clawstead_provisioner.background import Background
from clawstead_provisioner.engine_watch import watch_engine
from clawstead_provisioner.image_profiles import ImageProfiles, load_profiles
from clawstead_provisioner.orphans import Orphans
from clawstead_provisioner.ports import Gateway
from clawstead_provisioner.reconcile import Reconciler
from clawstead_provisioner.settings import ProvisionerSettings
from clawstead_provisioner.storage import Storage
from clawstead_provisioner.subscribers import on_desired
from clawstead_provisioner.sweep import Sweep
from clawstead_provisioner.vault import InstanceSecrets, SealingKey
from clawstead_provisioner.work_queue import WorkQueue
from clawstead_shared.admin import Readiness
from clawstead_shared.events import Desired, EventType, Observed, Phase, SecretRef
from clawstead_shared.subjects import Topic
from tests.support.factories import desired_event, make_desired
from tests.support.wait import wait_until

GATEWAY_TOKEN = "ab" * 32
STARTUP_PATH = "/startupz"


class FakeGateway:
    """Gateways that answer what they are told to."""

    def __init__(self) -> None:
        self.up = True
        self.hung = False
        self.asked: list[str] = []

    async def answers(self, port: int, path: str) -> bool:
        self.asked.append(path)
        return not self.hung and (self.up or path != STARTUP_PATH)


@dataclass
class FakeSecrets:
    """Secrets by key; the same for every instance unless told otherwise."""

    known: dict[str, InstanceSecrets | None] = field(default_factory=dict)
    default: InstanceSecrets | None = field(default_factory=lambda: InstanceSecrets(GATEWAY_TOKEN))

    async def fetch(self, ref: SecretRef) -> InstanceSecrets | None:
        return self.known.get(ref.key, self.default)


def wanted(instance_id: str | None = None, **overrides: Any) -> Desired:
    """Return a desired state that has secrets."""
    desired = make_desired(instance_id, **overrides)
    return desired.model_copy(update={"secrets": SecretRef(key=desired.instance_id, revision=1)})


@dataclass
class Rig:
    """One assembled provisioner."""

    bus: Any
    engine: Any
    gateway: Any
    secrets: Any
    settings: ProvisionerSettings
    reconciler: Reconciler
    queue: WorkQueue
    sweep: Sweep
    readiness: Readiness

    async def want(self, desired: Desired, type_: EventType = EventType.CREATED) -> None:
        """Publish a desired state and deliver it, as the bus would."""
        event = desired_event(desired, type_)
        await self.bus.publish(event)
        await on_desired(self.queue)(event)

    async def observed(self, instance_id: str) -> Observed | None:
        event = await self.bus.newest(Topic.OBSERVED, instance_id)
        return event.data if event else None

    async def until(self, instance_id: str, phase: Phase, timeout: float = 10) -> Observed:
        """Wait until the newest observation is in ``phase``, and return it."""

        async def reached() -> Observed | None:
            observed = await self.observed(instance_id)
            return observed if observed and observed.phase is phase else None

        found = await wait_until(
            reached, timeout=timeout, what=f"phase {phase} (is {await self.observed(instance_id)})"
        )
        assert found is not None
        return found

    def phases(self, instance_id: str) -> list[Phase]:
        """Return all phases that were published, in order; only on the fake bus."""
        return [event.data.phase for event in self.bus.of(Topic.OBSERVED) if event.instance_id == instance_id]


@contextlib.asynccontextmanager
async def provisioner(
    data_dir: Path,
    *,
    bus: BusPorts,
    engine: EnginePorts,
    gateway: Gateway,
    secrets: Any,
    profiles: ImageProfiles | None = None,
    **settings: Any,
) -> AsyncIterator[Rig]:
    """Assemble a provisioner and run it, with its engine watch but without a timer."""
    configured = ProvisionerSettings(data_dir=data_dir, **settings)
    key = SealingKey.load(configured.own_dir / "seal.key")
    readiness = Readiness()
    async with Background() as background:
        reconciler, queue, workspaces = assemble(
            configured,
            bus=bus,
            engine=engine,
            gateway=gateway,
            secrets=secrets,
            key=key,
            background=background,
            storage=Storage(configured.instances_dir),
            profiles=profiles or load_profiles(configured.image_profiles_file),
        )
        async with queue:
            orphans = Orphans(grace_seconds=configured.orphan_grace_seconds, most_at_once=configured.orphans_per_sweep)
            sweep = Sweep(bus, engine, reconciler, queue, readiness, orphans=orphans)
            since = datetime.now(UTC)
            await sweep.boot()
            watch = asyncio.gather(watch_engine(engine, reconciler, sweep, readiness, since), workspaces.run())
            try:
                yield Rig(bus, engine, gateway, secrets, configured, reconciler, queue, sweep, readiness)
            finally:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)
