"""The real gateway talks: a message on Telegram comes back with a model's answer."""

import json
import shlex
from typing import Any

import pytest

from tests.e2e.conftest import require_image
from tests.e2e.engine import Engine
from tests.e2e.operations import Operations
from tests.e2e.terminal import Terminal
from tests.support.chat_world import MODEL, PERSON, ChatWorld
from tests.support.wait import wait_until

IMAGE = "openclaw:local"
BOT_TOKEN = "123456:test-bot-token"
BOOT_SECONDS = 180
TURN_SECONDS = 90

pytestmark = pytest.mark.slow


async def test_a_person_on_telegram_gets_the_models_answer(operations: Operations, engine: Engine) -> None:
    require_image(IMAGE)
    instance_id = await operations.create(name="talks", image=IMAGE)
    await operations.reached(instance_id, "running", timeout=BOOT_SECONDS)
    async with ChatWorld(host_seen_by(engine, instance_id), BOT_TOKEN) as world:
        await configure(operations, instance_id, world)

        # Another container: what the tenant has set is in its files, and stays.
        change = {"channel": "telegram", "bot_token": BOT_TOKEN}
        response = await operations.client.api("PATCH", f"/instances/{instance_id}", json=change)
        assert response.status_code == 202, response.text
        await operations.reached(instance_id, "running", timeout=BOOT_SECONDS)
        await answered(world, "hello")

        await operations.command(instance_id, "delete")
        await operations.gone(instance_id)


def host_seen_by(engine: Engine, instance_id: str) -> str:
    """Return the host's address on the instance's own bridge, which nothing but that instance reaches."""
    network = engine.networks(instance_id)[0]
    gateway: str = network.attrs["IPAM"]["Config"][0]["Gateway"]
    return gateway


async def configure(operations: Operations, instance_id: str, world: ChatWorld) -> None:
    """Set what belongs to the tenant, as a tenant does: with the gateway's own command line, in the terminal."""
    provider = {"baseUrl": f"{world.url}/v1", "apiKey": "none", "api": "openai-completions", "models": [MODEL]}
    settings: dict[str, Any] = {
        "models.providers.fake": provider,
        "agents.defaults.model.primary": "fake/fake-1",
        "channels.telegram.apiRoot": world.url,
        "channels.telegram.allowFrom": ["*"],
        "channels.telegram.dmPolicy": "open",
    }
    batch = json.dumps([{"path": path, "value": value} for path, value in settings.items()])
    terminal = await Terminal.open(operations, instance_id)
    await terminal.run(f"openclaw config set --batch-json {shlex.quote(batch)} && echo set-$((1+1))", "set-2")
    await terminal.close()


async def answered(world: ChatWorld, text: str) -> None:
    """Write to the bot until the model's answer to exactly that has come back."""
    asked, sent = len(world.asked), len(world.sent)
    world.write(text)
    await wait_until(
        lambda: text in "".join(world.asked[asked:]),
        timeout=TURN_SECONDS,
        what=f"the model is asked ({world.calls[-5:]})",
    )
    await wait_until(
        lambda: any("answer number" in message for message in world.sent[sent:]),
        timeout=TURN_SECONDS,
        what=f"the bot answers {PERSON['first_name']}",
    )
