"""An operator updates every instance: in stages, and back where the new image does not work."""

import asyncio
import json
from typing import Any

from tests.e2e.engine import Engine
from tests.e2e.operations import Operations
from tests.support.registry import BREAKS, SERVES, Registry


async def update_all(operations: Operations, *arguments: str) -> tuple[int, dict[str, str], str]:
    """Run ``clawstead update --all``; return its exit code, what became of each instance, and what it said."""
    run = operations.platform.run
    result = await asyncio.to_thread(run, "update", "--all", "--json", *arguments, timeout=240)
    rows: list[dict[str, Any]] = json.loads(result.stdout)["instances"] if result.stdout else []
    return result.returncode, {row["id"]: row["outcome"] for row in rows}, result.stderr


async def test_all_instances_are_updated_and_go_back_where_the_image_does_not_work(
    registry: Registry, operations: Operations, engine: Engine
) -> None:
    ids = [await operations.create(name=f"update {number}", plan="free") for number in range(2)]
    for instance_id in ids:
        await operations.reached(instance_id, "running")
    before = [engine.container(instance_id).id for instance_id in ids]

    code, outcomes, said = await update_all(operations)
    assert (code, outcomes) == (0, dict.fromkeys(ids, "updated")), said
    assert [engine.container(instance_id).id for instance_id in ids] == before, "what is up to date stays up"

    good = registry.push("good", SERVES)
    code, outcomes, said = await update_all(operations, "--image", f"{registry.repository}:good")
    assert (code, outcomes) == (0, dict.fromkeys(ids, "updated")), said
    for instance_id in ids:
        assert (await operations.client.instance(instance_id))["running_image"]["digest"] == good
        await operations.serves(instance_id, 200)

    registry.push("bad", BREAKS, code=1)
    code, outcomes, said = await update_all(operations, "--image", f"{registry.repository}:bad")
    assert (code, outcomes) == (1, dict(zip(ids, ["rolled back", "not tried"], strict=True))), said
    shown = await operations.client.instance(ids[0])
    assert shown["running_image"]["digest"] == good
    assert "cannot migrate" in shown["rejected_image"]["message"]
    for instance_id in ids:
        await operations.serves(instance_id, 200)
