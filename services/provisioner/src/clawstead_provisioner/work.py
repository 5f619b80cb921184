"""What a step works with: the tools, which all steps share, and the one instance at hand."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from clawstead_provisioner.background import Background
from clawstead_provisioner.blueprint import Blueprint, Blueprints
from clawstead_provisioner.boot_slots import BootSlots
from clawstead_provisioner.boot_watch import BootWatch
from clawstead_provisioner.image_profiles import ImageProfile
from clawstead_provisioner.memory import Memory
from clawstead_provisioner.observations import Observations
from clawstead_provisioner.port_allocation import PortTable
from clawstead_provisioner.ports import Container, Engine, Gateway, Status
from clawstead_provisioner.pulls import Pulls
from clawstead_provisioner.storage import Storage
from clawstead_provisioner.work_queue import WorkQueue
from clawstead_shared.events import Desired, ExitCause, Phase


@dataclass(frozen=True, slots=True)
class Patience:
    """How long what may take."""

    stop: timedelta = timedelta(seconds=345)
    unresponsive_stop: timedelta = timedelta(seconds=30)
    delete: timedelta = timedelta(seconds=2)
    start_seconds: float = 300


@dataclass(frozen=True, slots=True)
class Tools:
    """Everything that steps use."""

    engine: Engine
    storage: Storage
    gateway: Gateway
    blueprints: Blueprints
    observations: Observations
    ports: PortTable
    background: Background
    pulls: Pulls
    boots: BootWatch
    slots: BootSlots
    queue: WorkQueue
    patience: Patience


@dataclass
class Work:
    """One instance while it is worked on."""

    tools: Tools
    desired: Desired
    memory: Memory
    container: Container | None = None
    prepared: str | None = None
    """Id of the container whose files were written in this run."""
    unasked: int = 0
    """How often the instance ended since the start that is known, without anybody asking for that."""
    queued: bool = False
    """This run left the instance in the line for a boot slot."""
    made_storage: bool = False
    """The instance's directories did not exist before this run."""

    @property
    def instance_id(self) -> str:
        """The instance."""
        return self.desired.instance_id

    @property
    def present(self) -> Container:
        """The container, of a step that is only decided where there is one."""
        if self.container is None:
            raise LookupError("this step needs a container")
        return self.container

    @property
    def profile(self) -> ImageProfile:
        """What is known of the container's image, or of the one wanted if there is no container."""
        return self.tools.blueprints.profile(self.desired, self.container)

    @property
    def exit_cause(self) -> ExitCause | None:
        """How the container ended last, as an event told or as it says itself."""
        if self.memory.exit is not None:
            return self.memory.exit
        container = self.container
        if container is None or container.status not in {Status.EXITED, Status.RESTARTING}:
            return None
        return ExitCause(code=container.exit_code, oom_killed=container.oom_killed, finished_at=container.finished_at)

    async def say(self, phase: Phase, **facts: Any) -> None:
        """Publish that the instance is in ``phase``; see ``Observations.publish``."""
        await self.tools.observations.publish(
            self.desired, self.memory, phase, container=self.container, profile=self.profile, **facts
        )

    async def draw(self, port: int) -> Blueprint:
        """Return the instance's blueprint; see ``Blueprints``."""
        return await self.tools.blueprints.draw(self.desired, port, self.memory)

    def look_again(self) -> None:
        """Have the instance looked at again soon."""
        self.tools.queue.submit(self.instance_id)


async def all_of(*steps: Awaitable[Any]) -> list[Any]:
    """Await all to their end, then raise the first error: nothing runs on while the caller cleans up."""
    results = await asyncio.gather(*steps, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
