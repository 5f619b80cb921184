"""kill -9 of each process at a random moment: everything converges, nothing doubled, nothing lost."""

import asyncio
import random

import httpx
import pytest

from tests.e2e.engine import Engine
from tests.e2e.operations import Operations
from tests.e2e.platform import SERVICES
from tests.e2e.seed import chosen_seed

SEED = chosen_seed()
CONVERGENCE_SECONDS = 90


async def insistently(operations: Operations, action: str, instance_id: str | None = None) -> str:
    """Repeat one request until it is accepted, as a client with an idempotency key may."""
    key = f"{action}-{instance_id or random.getrandbits(64)}-{random.getrandbits(64)}"
    deadline = asyncio.get_running_loop().time() + 30
    while True:
        try:
            if action == "create":
                response = await operations.client.api(
                    "POST", "/instances", json={"name": "crash", "plan": "pro"}, headers={"Idempotency-Key": key}
                )
            elif action == "delete":
                response = await operations.client.api("DELETE", f"/instances/{instance_id}")
            else:
                response = await operations.client.api(
                    "POST", f"/instances/{instance_id}/{action}", headers={"Idempotency-Key": key}
                )
            if response.status_code == 202 or (action == "delete" and response.status_code == 404):
                return instance_id or str(response.json()["id"])
            assert response.status_code in {409, 502, 503, 504}, response.text
        except httpx.TransportError:
            pass
        assert asyncio.get_running_loop().time() < deadline, f"{action} was not accepted within 30 s"
        await asyncio.sleep(0.1)


async def kill_soon(operations: Operations, process: str, delay: float) -> None:
    await asyncio.sleep(delay)
    await asyncio.to_thread(operations.platform.kill, process)


# No instance waits for the keeper.
@pytest.mark.parametrize("process", [*(service for service in SERVICES if service != "keeper"), "nats"])
async def test_everything_converges_after_a_kill_at_a_random_moment(
    operations: Operations, engine: Engine, process: str
) -> None:
    chance = random.Random(f"{SEED}-{process}")
    print(f"seed {SEED}: kill {process}")
    steady = await operations.create(name="steady")
    await operations.reached(steady, "running")

    kill = asyncio.create_task(kill_soon(operations, process, chance.uniform(0, 1.5)))
    created = [await insistently(operations, "create") for _ in range(3)]
    for instance_id in created:
        operations.adopt(instance_id)
        await asyncio.sleep(chance.uniform(0, 0.4))
    await insistently(operations, "stop", steady)
    doomed = created.pop()
    await insistently(operations, "delete", doomed)
    await kill

    for instance_id in created:
        await operations.reached(instance_id, "running", timeout=CONVERGENCE_SECONDS)
        await operations.serves(instance_id, 200, timeout=CONVERGENCE_SECONDS)
        engine.container(instance_id)
    await operations.reached(steady, "stopped", timeout=CONVERGENCE_SECONDS)
    await operations.serves(steady, 503)
    await operations.gone(doomed, timeout=CONVERGENCE_SECONDS)
    listed = (await operations.client.api("GET", "/instances", params={"limit": 100})).json()
    living = [item["id"] for item in (listed["items"] if isinstance(listed, dict) else listed)]
    assert sorted(living) == sorted([steady, *created]), "an idempotent create must not double"
