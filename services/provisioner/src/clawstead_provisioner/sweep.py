"""The look at everything that makes certain what events only make fast: at boot, on a timer, after a gap."""

import asyncio
import contextlib
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

import structlog

from clawstead_provisioner.errors import EngineUnavailableError
from clawstead_provisioner.orphans import Orphans
from clawstead_provisioner.ports import Engine, Listed
from clawstead_provisioner.reconcile import Reconciler
from clawstead_provisioner.work_queue import WorkQueue
from clawstead_shared.admin import Readiness
from clawstead_shared.errors import TransientError
from clawstead_shared.events import Desired
from clawstead_shared.messaging import EventReader
from clawstead_shared.subjects import Topic

log = structlog.get_logger()

ENGINE = "engine"
_BOOT_SECONDS = 60.0


class LogAge(Protocol):
    """Knows since when there is the log that desired states are read from."""

    @property
    def begun(self) -> datetime | None:
        """When it was declared (UTC), None if that is not known yet."""
        ...


class Sweep:
    """Compares all desired states with all that the engine holds."""

    def __init__(
        self,
        reader: EventReader,
        engine: Engine,
        reconciler: Reconciler,
        queue: WorkQueue,
        readiness: Readiness,
        *,
        orphans: Orphans,
        log_age: LogAge | None = None,
    ) -> None:
        self._reader = reader
        self._engine = engine
        self._reconciler = reconciler
        self._queue = queue
        self._readiness = readiness
        self._orphans = orphans
        self._log_age = log_age

    async def boot(self) -> None:
        """Look at every instance and wait for that, a minute at most: containers that start take their time.

        Raises:
            TransientError: the bus did not answer.
        """
        observed = await self._reader.snapshot(Topic.OBSERVED)
        self._orphans.know(observed.keys())
        self._reconciler.restore(observed)
        await self._reconciler.departures.recall()
        submitted = await self.once(everything=True)
        if submitted:
            await asyncio.wait(submitted, timeout=_BOOT_SECONDS)

    async def run(self, interval_seconds: float) -> None:
        """Look at everything again and again."""
        while True:
            await asyncio.sleep(interval_seconds)
            with contextlib.suppress(TransientError):
                await self.once()

    async def once(self, *, everything: bool = False) -> list[asyncio.Future[None]]:
        """Have looked at what does not seem settled; return the looks.

        Raises:
            TransientError: the bus did not answer.
        """
        observed = await self._reader.snapshot(Topic.OBSERVED)
        desired = {
            instance_id: event.data
            for instance_id, event in (await self._reader.snapshot(Topic.DESIRED)).items()
            if isinstance(event.data, Desired)
        }
        await self._reconciler.departures.review()
        listed = await self._listed()
        if listed is not None:
            self._reconciler.hold_ports(listed.values())
            for instance_id in self._orphans.judge(desired.keys(), listed.keys(), older=self._older(listed)):
                self._reconciler.condemn(instance_id)
        misheard = self._reconciler.misheard(observed)
        return [
            self._queue.submit(instance_id)
            for instance_id, wanted in desired.items()
            if everything
            or instance_id in misheard
            or not self._reconciler.settled(wanted, (listed or {}).get(instance_id))
        ]

    def _older(self, listed: Mapping[str, Listed]) -> set[str]:
        begun = self._log_age.begun if self._log_age else None
        return {name for name, item in listed.items() if begun and item.created_at and item.created_at < begun}

    async def _listed(self) -> dict[str, Listed] | None:
        try:
            listed = await self._engine.list()
        except EngineUnavailableError as error:
            self._readiness.unmet(ENGINE, error.message)
            return None
        self._readiness.met(ENGINE)
        return {item.instance_id: item for item in listed}
