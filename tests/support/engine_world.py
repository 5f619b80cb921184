"""One container engine, real or fake, for the suite that both keep."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import docker

from clawstead_provisioner.image_profiles import load_profiles
from clawstead_provisioner.port_allocation import candidates, is_free
from clawstead_provisioner.ports import Status
from clawstead_provisioner.spec import ContainerSpec, Site, container_spec
from clawstead_provisioner.storage import Storage
from tests.support.factories import STANDIN_IMAGE, make_desired, make_spec
from tests.support.fake_engine import FakeEngine


@dataclass
class EngineWorld:
    """One engine, and how to ask it for containers."""

    engine: Any
    site: Site
    storage: Storage

    async def spec(self, image: str = STANDIN_IMAGE) -> ContainerSpec:
        desired = make_desired()
        instance_id = desired.instance_id
        desired = desired.model_copy(update={"spec": make_spec(instance_id, image=image)})
        profile = load_profiles().of(image, {})
        await self.storage.open(instance_id, profile)
        port = next(port for port in candidates(instance_id, 10000, 20000) if is_free("127.0.0.1", port))
        return container_spec(desired, self.site, port, profile, secret_env={}, config=[], secrets_digest="")

    @property
    def fake(self) -> FakeEngine | None:
        """The engine if it is the fake, to be told what the stand-in image is told by files."""
        return self.engine if isinstance(self.engine, FakeEngine) else None

    async def started(self, *, ignores_term: bool = False) -> ContainerSpec:
        spec = await self.spec()
        if ignores_term:
            self.knob(spec, "ignore-term")
            if self.fake:
                self.fake.ends_after = timedelta(hours=1)
        await self.engine.start((await self.engine.create(spec)).id)
        return spec

    def knob(self, spec: ContainerSpec, name: str, content: str = "") -> None:
        """Tell the stand-in how to behave at its start."""
        knobs = self.site.instances_source / spec.instance_id / "config" / "standin"
        knobs.mkdir(exist_ok=True)
        (knobs / name).write_text(content)

    async def lose_network(self, spec: ContainerSpec) -> None:
        """Leave a container that was created alone, as a death between the two does."""
        if self.fake:
            self.fake.networks.discard(spec.instance_id)
            return
        client = docker.from_env(timeout=60)
        await asyncio.to_thread(client.networks.get(spec.network.name).remove)
        client.close()

    async def status(self, spec: ContainerSpec) -> Status | None:
        container = await self.engine.inspect(spec.instance_id)
        return container.status if container else None
