"""Stands in for the provisioner on a real bus: reports what a test says becomes of each update."""

import asyncio
import base64
from typing import Any

from nacl.public import PrivateKey

from clawstead_shared.events import (
    Desired,
    DesiredState,
    ImageVersion,
    Observed,
    Phase,
    Progress,
    Reason,
    RejectedImage,
)
from clawstead_shared.messaging import Bus
from clawstead_shared.streams import KEYS_BUCKET, SEALING_KEY
from clawstead_shared.subjects import Topic
from tests.support.factories import make_observed, observed_event

_LOOK_SECONDS = 0.05


class FakeProvisioner:
    """Makes every instance what it should be, at once; updates of ``bad`` images are rolled back."""

    def __init__(self, bus: Bus) -> None:
        self.bad: set[str] = set()
        """Names of instances that do not stand an update."""
        self.silent: set[str] = set()
        """Names of instances that nobody looks after."""
        self.updated: list[str] = []
        """Names of instances in the order in which their updates were begun."""
        self._bus = bus
        self._done: dict[str, int] = {}
        self._good: dict[str, ImageVersion] = {}

    async def publish_key(self) -> None:
        """Let the API seal secrets."""
        key = base64.b64encode(bytes(PrivateKey.generate().public_key))
        await (await self._bus.bucket(KEYS_BUCKET)).put(SEALING_KEY, key)

    def forget(self) -> None:
        """Look after every instance anew, as after a restart."""
        self._done.clear()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            for event in (await self._bus.snapshot(Topic.DESIRED)).values():
                assert isinstance(event.data, Desired)
                if self._done.get(event.instance_id) != event.data.generation:
                    await self._take_up(event.data)
            await asyncio.sleep(_LOOK_SECONDS)

    async def _take_up(self, desired: Desired) -> None:
        name, spec = desired.spec.name, desired.spec
        self._done[desired.instance_id] = desired.generation
        wanted = ImageVersion(reference=spec.image, revision=spec.image_revision, digest=f"sha256:{spec.image}")
        if desired.desired_state is DesiredState.STOPPED:
            await self._say(desired, phase=Phase.STOPPED)
        elif desired.desired_state is DesiredState.DELETED:
            await self._say(desired, phase=Phase.REMOVED)
        elif spec.image_revision == 0:
            self._good[desired.instance_id] = wanted
            await self._say(desired, phase=Phase.RUNNING)
        elif name not in self.silent:
            self.updated.append(name)
            await self._say(desired, phase=Phase.RUNNING, progress=Progress(step="pulling", percent=40))
            await self._say(desired, phase=Phase.UPDATING)
            await (self._go_back if name in self.bad else self._confirm)(desired, wanted)

    async def _confirm(self, desired: Desired, wanted: ImageVersion) -> None:
        self._good[desired.instance_id] = wanted
        await self._say(desired, phase=Phase.RUNNING)

    async def _go_back(self, desired: Desired, wanted: ImageVersion) -> None:
        rejected = RejectedImage(**wanted.model_dump(), message="it ended with exit code 78")
        facts = {"reason": Reason.UPDATE_ROLLED_BACK, "rejected": rejected}
        await self._say(desired, phase=Phase.UPDATING, **facts)
        await self._say(desired, phase=Phase.RUNNING, **facts)

    async def _say(self, desired: Desired, **facts: Any) -> Observed:
        image = self._good.get(desired.instance_id)
        observed = make_observed(desired.instance_id, generation=desired.generation, image=image, **facts)
        await self._bus.publish(observed_event(observed))
        return observed
