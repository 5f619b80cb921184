"""What the provisioner asks of the outside world, and what it may expect of the answers."""

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from clawstead_provisioner.spec import ContainerSpec, Resources
from clawstead_provisioner.vault import InstanceSecrets
from clawstead_shared.events import ImageVersion, Progress, SecretRef


class Status(StrEnum):
    """What the engine says of a container."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    EXITED = "exited"
    BROKEN = "broken"
    """Half removed, or in a state that only removal can end."""


ACTIVE = frozenset({Status.RUNNING, Status.PAUSED, Status.RESTARTING})
"""The container has, or is about to have, a process."""


@dataclass(frozen=True, slots=True)
class Container:
    """One container of ours as it is now. Times are UTC, and None where it never happened."""

    id: str
    instance_id: str
    status: Status
    fingerprint: str
    """Label: what the container was made from."""
    port: int
    image_digest: str
    resources: Resources
    labels: Mapping[str, str] = field(default_factory=dict)
    """All labels, its image's among them."""
    heap_mib: int | None = None
    """Label: what the old space of its V8 may take."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int = 0
    oom_killed: bool = False
    image_reference: str = ""
    """Label: the image it was made from, as it was asked for; empty if it does not say."""
    image_revision: int = 0

    @property
    def image(self) -> ImageVersion | None:
        """The image that it was made from, None if it does not say."""
        if not self.image_reference:
            return None
        return ImageVersion(
            reference=self.image_reference, revision=self.image_revision, digest=self.image_digest or None
        )

    @property
    def active(self) -> bool:
        """Whether it has, or is about to have, a process."""
        return self.status in ACTIVE


@dataclass(frozen=True, slots=True)
class Listed:
    """One instance that the engine holds something of: its container, or only its network."""

    instance_id: str
    port: int | None = None
    container_id: str | None = None
    status: Status | None = None
    created_at: datetime | None = None


class Happening(StrEnum):
    """What the engine tells of a container without being asked."""

    STARTED = "start"
    DIED = "die"
    OUT_OF_MEMORY = "oom"
    DESTROYED = "destroy"


@dataclass(frozen=True, slots=True)
class EngineEvent:
    """One happening."""

    instance_id: str
    happening: Happening
    at: datetime
    exit_code: int | None = None


class Engine(Protocol):
    """The container engine. Touches nothing that lacks our labels.

    Every call ends within a deadline. All raise ``EngineUnavailableError`` when the engine does not answer,
    and ``ProvisioningError`` with a reason when it refuses. What is already as asked is success.
    """

    async def create(self, spec: ContainerSpec) -> Container:
        """Create the instance's network and container, not started; return the one that exists already, if any.

        After a failure either may exist; ``remove`` cleans up.

        Raises:
            ImageMissingError: the engine has no such image.
            PortTakenError: the network's subnet overlaps one that is not ours.
            ProvisioningError: ``name_taken`` when a foreign object has our name.
        """
        ...

    async def start(self, container_id: str) -> None:
        """Start a container; a running one is left alone.

        Raises:
            PortTakenError: the port is used by something else; the container stays as it was.
            VanishedError: there is no such container.
        """
        ...

    async def stop(self, container_id: str, grace: timedelta) -> None:
        """Ask a container to end and wait, after ``grace`` kill it. Not running or gone is success.

        Blocks up to the grace without delaying calls for other instances; ``remove`` ends it early.
        """
        ...

    async def resize(self, container_id: str, resources: Resources) -> None:
        """Change what a container may use, while it runs. What cannot be changed stays as it was.

        Raises:
            ProvisioningError: ``resize_refused``, above all for less memory than it uses now.
            VanishedError: there is no such container.
        """
        ...

    async def remove(self, instance_id: str) -> None:
        """Kill and remove the instance's container, remove its network. What does not exist is success."""
        ...

    async def inspect(self, instance_id: str) -> Container | None:
        """Return the instance's container as it is now, None if it has none of ours."""
        ...

    async def list(self) -> list[Listed]:
        """Return every instance that the engine holds something of."""
        ...

    async def logs(self, container_id: str, lines: int) -> str:
        """Return the last lines of a container's output, oldest first; empty if there is none."""
        ...

    async def ping(self) -> None:
        """Return if the engine answers, within seconds and whatever other calls wait for."""
        ...

    def events(self, since: datetime) -> AsyncIterator[EngineEvent]:
        """Yield what happens to our containers, from ``since`` on. Ends when the engine ends the stream.

        The engine keeps no lasting log, so after each (re)subscription the caller lists everything once.
        """
        ...


@dataclass(frozen=True, slots=True)
class LocalImage:
    """An image that the engine has."""

    digest: str
    """The engine's id of it."""
    built_here: bool
    """It came from no registry, so none can have a newer one."""
    labels: Mapping[str, str] = field(default_factory=dict)


class Images(Protocol):
    """The engine's images."""

    async def pull(self, image: str, told: Callable[[Progress], None]) -> str:
        """Fetch an image from its registry, and return the engine's id of what it names now.

        ``told`` is called on the event loop, at each step and percent that the engine tells of.

        Raises:
            ProvisioningError: ``image_missing`` with the registry's answer, or that it stopped answering.
        """
        ...

    async def find(self, image: str) -> LocalImage | None:
        """Return what the engine has under a reference or an id, None if nothing."""
        ...


class Secrets(Protocol):
    """The instances' sealed secrets."""

    async def fetch(self, ref: SecretRef) -> InstanceSecrets | None:
        """Return the opened secrets, None when there are none under the reference.

        Raises:
            ProvisioningError: ``secrets_missing`` when they are sealed to another key.
            TransientError: the bus did not answer.
        """
        ...


class Gateway(Protocol):
    """The gateways' own HTTP answers, through their published ports."""

    async def answers(self, port: int, path: str) -> bool:
        """Say whether a path answers 200. Unreachable is False; never raises."""
        ...
