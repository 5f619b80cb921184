"""Wishing for instances on a real bus, as the API does, and waiting for what the provisioner says of them."""

import base64
import json
from typing import Any

from nacl.public import PublicKey, SealedBox

from clawstead_shared.events import Desired, DesiredState, Observed, Phase
from clawstead_shared.messaging import Bus
from clawstead_shared.streams import KEYS_BUCKET, SEALING_KEY, SECRETS_BUCKET
from clawstead_shared.subjects import Topic
from tests.support.factories import desired_event
from tests.support.wait import wait_until

TOKEN = "ef" * 32


async def entrust(bus: Bus, desired: Desired, **secrets: str) -> None:
    """Seal secrets for an instance, as the API does."""
    public = (await (await bus.bucket(KEYS_BUCKET)).get(SEALING_KEY)).value
    assert public
    box = SealedBox(PublicKey(base64.b64decode(public)))
    sealed = {name: box.encrypt(secret.encode()) for name, secret in {"gateway_token": TOKEN, **secrets}.items()}
    parts = {name: base64.b64encode(content).decode() for name, content in sealed.items()}
    await (await bus.bucket(SECRETS_BUCKET)).put(desired.instance_id, json.dumps(parts).encode())


async def want(bus: Bus, desired: Desired) -> None:
    await bus.publish(desired_event(desired))


async def newest(bus: Bus, desired: Desired) -> Observed | None:
    event = await bus.newest(Topic.OBSERVED, desired.instance_id)
    observed = event.data if event else None
    assert observed is None or isinstance(observed, Observed)
    return observed


async def until(bus: Bus, desired: Desired, phase: Phase, timeout: float = 40) -> Observed:
    """Wait until the newest word on the instance is ``phase``, of the generation that was wished for."""

    async def reached() -> Observed | None:
        observed = await newest(bus, desired)
        current = observed and observed.phase is phase and observed.generation == desired.generation
        return observed if current else None

    found = await wait_until(reached, timeout=timeout, what=f"{desired.instance_id} {phase}")
    assert found
    return found


def changed(desired: Desired, generation: int, state: DesiredState) -> Desired:
    return desired.model_copy(update={"generation": generation, "desired_state": state})


def containers(docker_client: Any, desired: Desired) -> list[Any]:
    mine = {"label": f"ing.clawstead.instance={desired.instance_id}"}
    return list(docker_client.containers.list(all=True, filters=mine, ignore_removed=True))
