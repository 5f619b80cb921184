"""What a step works with: the tools, which all steps share, and the one instance at hand."""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from clawstead_provisioner.background import Background
from clawstead_provisioner.blueprint import Blueprint, Blueprints
from clawstead_provisioner.boot_slots import BootSlots
from clawstead_provisioner.boot_watch import BootWatch
from clawstead_provisioner.deadlines import Deadlines
from clawstead_provisioner.departures import Departures
from clawstead_provisioner.image_profiles import ImageProfile
from clawstead_provisioner.instance_warnings import warnings_of
from clawstead_provisioner.memory import Memory
from clawstead_provisioner.observations import Observations
from clawstead_provisioner.port_allocation import PortTable
from clawstead_provisioner.ports import Container, Engine, Gateway, Images, LocalImage, Status
from clawstead_provisioner.pulls import Pulls, Waiter
from clawstead_provisioner.snapshots import Snapshots
from clawstead_provisioner.storage import Storage
from clawstead_provisioner.versions import NO_CHOICE, Choice, choose
from clawstead_provisioner.work_queue import WorkQueue
from clawstead_provisioner.workspaces import Workspaces
from clawstead_shared.events import Desired, DesiredState, ExitCause, Phase, Progress, RejectedImage, WarningCode


@dataclass(frozen=True, slots=True)
class Patience:
    """How long what may take."""

    stop: timedelta = timedelta(seconds=345)
    unresponsive_stop: timedelta = timedelta(seconds=30)
    delete: timedelta = timedelta(seconds=2)
    force_seconds: float = 15
    """What each part of a forced delete may take before it counts as left over."""
    deadlines: Deadlines = field(default_factory=Deadlines)
    give_up: timedelta = timedelta(seconds=5)
    start_seconds: float = 300
    probation_seconds: float = 15
    """How long a new image must serve before its update is confirmed."""


@dataclass(frozen=True, slots=True)
class Tools:
    """Everything that steps use."""

    engine: Engine
    images: Images
    storage: Storage
    snapshots: Snapshots
    gateway: Gateway
    blueprints: Blueprints
    observations: Observations
    ports: PortTable
    departures: Departures
    background: Background
    pulls: Pulls
    boots: BootWatch
    slots: BootSlots
    queue: WorkQueue
    patience: Patience
    workspaces: Workspaces


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
    images: Choice = NO_CHOICE
    rejected: RejectedImage | None = None
    """The image that the instance went back from last."""

    @property
    def instance_id(self) -> str:
        """The instance."""
        return self.desired.instance_id

    @property
    def forced(self) -> bool:
        """Whether it shall count as removed whatever can be removed of it."""
        return self.desired.force and self.desired.desired_state is DesiredState.DELETED

    @property
    def effective(self) -> Desired:
        """The desired state with the image that the container is to be made from now: see ``versions``."""
        target = self.images.target
        if target is None:
            return self.desired
        spec = self.desired.spec.model_copy(update={"image": target.reference, "image_revision": target.revision})
        return self.desired.model_copy(update={"spec": spec})

    @property
    def fetching(self) -> Progress | None:
        """How far the pull of the wanted image is, None if none is under way for this instance."""
        return self.tools.pulls.progress(self.desired.spec.image, self.instance_id)

    @property
    def present(self) -> Container:
        """The container, of a step that is only decided where there is one."""
        if self.container is None:
            raise LookupError("this step needs a container")
        return self.container

    @property
    def profile(self) -> ImageProfile:
        """What is known of the container's image, or of the one wanted if there is no container."""
        return self.tools.blueprints.profile(self.effective.spec.image, self.container)

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
        container, memory, profile = self.container, self.memory, self.profile
        image = choose(self.desired, memory.last, container, memory.trial, memory.resolved).current
        warnings = warnings_of(
            self.desired,
            phase,
            container,
            minimum_memory_bytes=profile.minimum_memory_bytes,
            over_quota=self._over_quota(),
        )
        facts |= {"image": image, "rejected": self.rejected, "warnings": warnings}
        await self.tools.observations.publish(
            self.desired, memory, phase, container=container, profile=profile, **facts
        )

    async def draw(self, port: int) -> Blueprint:
        """Return the instance's blueprint; see ``Blueprints``."""
        image, source = await self._local_image()
        return await self.tools.blueprints.draw(self.effective, port, self.memory, image, source)

    async def _local_image(self) -> tuple[LocalImage | None, str]:
        # Exactly the image that is meant, if the engine still has it: its reference may name another one by now.
        images, reference, target = self.tools.images, self.effective.spec.image, self.images.target
        found = await images.find(reference)
        if target is None or target.digest is None or (found is not None and found.digest == target.digest):
            return found, reference
        meant = await images.find(target.digest)
        return (meant, target.digest) if meant is not None else (found, reference)

    def rejected_now(self) -> RejectedImage | None:
        """Return the image that was given up last: by the trial that is being undone, else as was said."""
        trial, last = self.memory.trial, self.memory.last
        if trial is not None and trial.failure is not None:
            return RejectedImage(**trial.candidate.model_dump(), message=trial.failure)
        return last.rejected if last else None

    @property
    def waiter(self) -> Waiter:
        """Who is told when a missing image is there: whoever looks then finds it."""
        return Waiter(lambda _: None, self.look_again)

    def _over_quota(self) -> bool:
        measured, last = self.tools.workspaces.over_quota(self.instance_id), self.memory.last
        if measured is not None or last is None:
            return bool(measured)
        # Not measured since this process began: what was said before still counts.
        return any(warning.code is WarningCode.WORKSPACE_OVER_QUOTA for warning in last.warnings)

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
