"""The container engine in memory: keeps ``Engine`` and ``Images`` as the real one does, and can be told to fail."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from clawstead_provisioner.errors import (
    EngineUnavailableError,
    ImageMissingError,
    PortTakenError,
    ProvisioningError,
    VanishedError,
)
from clawstead_provisioner.ports import Container, EngineEvent, Happening, Listed, LocalImage, Status
from clawstead_provisioner.spec import IMAGE_LABEL, IMAGE_REVISION_LABEL, ContainerSpec, Resources
from clawstead_shared.events import Progress, Reason
from tests.support.factories import STANDIN_IMAGE


@dataclass
class FakeContainer:
    """One container: its spec, what the engine says of it, and how long it takes to end when asked."""

    spec: ContainerSpec
    state: Container
    ends_after: timedelta = timedelta(0)
    output: str = ""
    memory_in_use: int = 0
    made_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class FakeEngine:
    """Containers in a dictionary, with the engine's rules about them."""

    def __init__(self) -> None:
        self.available = True
        self.images: dict[str, dict[str, str]] = {STANDIN_IMAGE: {}}
        self.registry: dict[str, dict[str, str]] = {}
        self.digests: dict[str, str] = {}
        """What references name here; one made from the reference unless said otherwise."""
        self.registry_digests: dict[str, str] = {}
        self.untagged: dict[str, dict[str, str]] = {}
        """Images that no reference names any more, by digest."""
        self.pulled: set[str] = set()
        self.pull_steps: list[Progress] = []
        self.pull_gate = asyncio.Event()
        self.pull_gate.set()
        self.containers: dict[str, FakeContainer] = {}
        self.networks: set[str] = set()
        self.hanging: set[str] = set()
        self.refusing: dict[str, Exception] = {}
        self.foreign_ports: set[int] = set()
        self.foreign_names: set[str] = set()
        self.foreign_subnets: set[str] = set()
        self.calls: list[str] = []
        self.ends_after = timedelta(0)
        self.starting: Callable[[FakeContainer], None] = lambda _: None
        self.listeners: list[asyncio.Queue[EngineEvent | None]] = []
        self._history: list[EngineEvent] = []
        self._ids = itertools.count(1)

    async def create(self, spec: ContainerSpec) -> Container:
        await self._called("create")
        if spec.network.subnet in self.foreign_subnets:
            raise PortTakenError(f"subnet {spec.network.subnet} is used by another network")
        self.networks.add(spec.instance_id)
        image = self._find(spec.image)
        if image is None:
            raise ImageMissingError(spec.image)
        if spec.instance_id in self.foreign_names:
            raise ProvisioningError(Reason.NAME_TAKEN, f"a container that is not ours is called {spec.name}")
        if spec.instance_id not in self.containers:
            state = Container(
                id=f"container-{next(self._ids)}",
                instance_id=spec.instance_id,
                status=Status.CREATED,
                fingerprint=spec.fingerprint,
                port=spec.port,
                labels={**image.labels, **spec.labels},
                image_digest=image.digest,
                image_reference=spec.labels[IMAGE_LABEL],
                image_revision=int(spec.labels[IMAGE_REVISION_LABEL]),
                resources=spec.resources,
                heap_mib=spec.heap_mib,
            )
            self.containers[spec.instance_id] = FakeContainer(spec, state, self.ends_after)
        return self.containers[spec.instance_id].state

    async def start(self, container_id: str) -> None:
        await self._called("start")
        container = self._by_id(container_id)
        if container is None:
            raise VanishedError(container_id)
        if container.state.status is Status.RUNNING:
            return
        if container.spec.instance_id not in self.networks:
            raise ProvisioningError(Reason.INTERNAL_ERROR, f"network {container.spec.network.name} not found")
        if container.spec.port in self.foreign_ports:
            raise PortTakenError(f"port {container.spec.port} is already allocated")
        self.run(container)

    async def stop(self, container_id: str, grace: timedelta) -> None:
        await self._called("stop")
        container = self._by_id(container_id)
        if container is None or not container.state.active:
            return
        patience = min(container.ends_after, grace)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(container.ended.wait(), patience.total_seconds())
        if container.state.active:
            self.end(container, 0 if container.ends_after <= grace else 137)

    async def resize(self, container_id: str, resources: Resources) -> None:
        await self._called("resize")
        container = self._by_id(container_id)
        if container is None:
            raise VanishedError(container_id)
        if resources.memory_bytes < container.memory_in_use:
            raise ProvisioningError(Reason.RESIZE_REFUSED, "the gateway uses more memory than its new limit")
        container.state = replace(container.state, resources=resources)

    async def remove(self, instance_id: str) -> None:
        await self._called("remove")
        container = self.containers.pop(instance_id, None)
        if container is not None and container.state.active:
            self.end(container, 137)
        if container is not None:
            self._tell(container, Happening.DESTROYED)
        self.networks.discard(instance_id)

    async def ping(self) -> None:
        await self._called("ping")

    async def inspect(self, instance_id: str) -> Container | None:
        await self._called("inspect")
        container = self.containers.get(instance_id)
        return container.state if container else None

    async def list(self) -> list[Listed]:
        await self._called("list")
        listed = {network: Listed(network) for network in self.networks}
        for instance_id, container in self.containers.items():
            state = container.state
            listed[instance_id] = Listed(instance_id, state.port, state.id, state.status, container.made_at)
        return list(listed.values())

    async def logs(self, container_id: str, lines: int) -> str:
        await self._called("logs")
        container = self._by_id(container_id)
        return "\n".join(container.output.splitlines()[-lines:]) if container else ""

    async def events(self, since: datetime) -> AsyncIterator[EngineEvent]:
        self._require_available()
        listener: asyncio.Queue[EngineEvent | None] = asyncio.Queue()
        for event in self._history:
            if event.at >= since.replace(microsecond=0):
                listener.put_nowait(event)
        self.listeners.append(listener)
        try:
            while (item := await listener.get()) is not None:
                yield item
        finally:
            if listener in self.listeners:
                self.listeners.remove(listener)

    async def pull(self, image: str, told: Callable[[Progress], None]) -> str:
        await self._called("pull")
        for progress in self.pull_steps:
            told(progress)
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        await self.pull_gate.wait()
        if image not in self.registry:
            raise ProvisioningError(Reason.IMAGE_MISSING, f"image {image} cannot be pulled: not found")
        if image in self.images:
            self.untagged[self.digest_of(image)] = self.images[image]
        self.images[image] = self.registry[image]
        self.digests[image] = self.registry_digests.get(image, f"sha256:{image}")
        self.pulled.add(image)
        return self.digests[image]

    async def find(self, image: str) -> LocalImage | None:
        await self._called("find")
        return self._find(image)

    def digest_of(self, reference: str) -> str:
        """Return what a reference names here."""
        return self.digests.get(reference, f"sha256:{reference}")

    def _find(self, image: str) -> LocalImage | None:
        for reference, labels in self.images.items():
            if image in {reference, self.digest_of(reference)}:
                return LocalImage(self.digest_of(reference), reference not in self.pulled, labels)
        labels = self.untagged.get(image, {})
        return LocalImage(image, False, labels) if image in self.untagged else None

    def run(self, container: FakeContainer) -> None:
        """Let a container run, as a start or the engine's own restart does."""
        container.state = replace(container.state, status=Status.RUNNING, started_at=datetime.now(UTC), exit_code=0)
        container.ended.clear()
        self._tell(container, Happening.STARTED)
        self.starting(container)

    def end(self, container: FakeContainer, code: int, *, oom: bool = False) -> None:
        """Let a container end, as a crash or a kill does."""
        now = datetime.now(UTC)
        if oom:
            self._tell(container, Happening.OUT_OF_MEMORY)
        container.state = replace(
            container.state, status=Status.EXITED, exit_code=code, oom_killed=oom, finished_at=now
        )
        container.ended.set()
        self._tell(container, Happening.DIED, code)

    def end_streams(self) -> None:
        """End all event streams, as a restart of the engine does."""
        ending, self.listeners = self.listeners, []
        for listener in ending:
            listener.put_nowait(None)

    def _tell(self, container: FakeContainer, happening: Happening, code: int | None = None) -> None:
        event = EngineEvent(container.spec.instance_id, happening, datetime.now(UTC), code)
        self._history.append(event)
        for listener in self.listeners:
            listener.put_nowait(event)

    def _by_id(self, container_id: str) -> FakeContainer | None:
        return next((found for found in self.containers.values() if found.state.id == container_id), None)

    async def _called(self, name: str) -> None:
        self.calls.append(name)
        self._require_available()
        if name in self.hanging:
            await asyncio.Event().wait()
        if (error := self.refusing.get(name)) is not None:
            raise error
        await asyncio.sleep(0)

    def _require_available(self) -> None:
        if not self.available:
            raise EngineUnavailableError("the fake engine is down")
