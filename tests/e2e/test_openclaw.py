"""The main job with the real OpenClaw: its gateway, its Control UI in Chromium, its own command line."""

import json
import re
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from tests.e2e.browser import chromium, new_visitor, other_host
from tests.e2e.conftest import require_image
from tests.e2e.engine import Engine
from tests.e2e.operations import Operations
from tests.e2e.terminal import Terminal

IMAGE = "openclaw:local"
BOOT_SECONDS = 180
"""Generous: on two busy cores a start takes 10 to 30 s."""

pytestmark = pytest.mark.slow


@pytest.fixture
async def gateway(operations: Operations) -> str:
    """A running instance of the real gateway."""
    require_image(IMAGE)
    instance_id = await operations.create(name="real", image=IMAGE)
    await operations.reached(instance_id, "running", timeout=BOOT_SECONDS)
    return instance_id


async def connected(page: Page) -> None:
    """Wait until the Control UI has left its sign-in pages."""
    await expect(page.locator("body")).not_to_contain_text("Approve this browser", timeout=60_000)
    await expect(page.locator("body")).to_contain_text(re.compile("Model|Chat|Overview|Agents"), timeout=60_000)


async def dashboard_link(operations: Operations, instance_id: str) -> str:
    response = await operations.client.api("POST", f"/instances/{instance_id}/dashboard-link")
    assert response.status_code == 201, response.text
    url: str = response.json()["url"]
    return url


async def test_a_customer_uses_a_real_gateway(
    operations: Operations, engine: Engine, gateway: str, tmp_path: Path
) -> None:
    await operations.serves(gateway, 200)
    terminal = await Terminal.open(operations, gateway)
    assert re.search(r"2026\.\d+\.\d+", await terminal.run("openclaw --version; echo done-$((1+1))", "done-2"))

    token = (await operations.client.instance(gateway))["gateway_token"]
    async with chromium() as browser:
        page = await new_visitor(browser)
        await page.goto(f"{operations.url(gateway)}/#token={token}")
        await expect(page.locator("body")).to_contain_text("Approve this browser", timeout=60_000)
        await approve_newest_device(terminal)
        await connected(page)
        await page.screenshot(path=tmp_path / "token.png")

        visitor = await new_visitor(browser)
        await visitor.goto(await dashboard_link(operations, gateway))
        await visitor.wait_for_url(re.compile(rf"https://{gateway}\."), timeout=90_000)
        await connected(visitor)
        await visitor.screenshot(path=tmp_path / "link.png")
    await terminal.close()

    with other_host(tmp_path) as (executable, address):
        async with chromium(executable, address) as browser:
            page = await new_visitor(browser)
            await page.goto(await dashboard_link(operations, gateway))
            await page.wait_for_url(re.compile(rf"https://{gateway}\."), timeout=90_000)
            await connected(page)


async def approve_newest_device(terminal: Terminal) -> None:
    screen = await terminal.run("openclaw devices list --json; echo listed-$((1+1))", "listed-2")
    request_id = re.search(r'"requestId":\s*"([^"]+)"', screen)
    assert request_id, screen
    await terminal.run(f"openclaw devices approve {request_id[1]}; echo approved-$((1+1))", "approved-2")


async def test_a_real_gateway_keeps_its_data_and_comes_back(
    operations: Operations, engine: Engine, gateway: str
) -> None:
    config = operations.platform.data_dir / "instances" / gateway / "config" / "openclaw.json"
    assert json.loads(config.read_text())["gateway"]["controlUi"]["allowedOrigins"] == [operations.url(gateway)]

    await operations.command(gateway, "stop")
    await operations.reached(gateway, "stopped", timeout=60)
    await operations.serves(gateway, 503, "stopped")
    state = config.parent / "state" / "openclaw.sqlite"
    assert state.exists()
    inode = state.stat().st_ino
    await operations.command(gateway, "start")
    await operations.reached(gateway, "running", timeout=BOOT_SECONDS)
    assert state.stat().st_ino == inode

    engine.container(gateway).kill()
    await operations.serves(gateway, 503, timeout=30)
    await operations.serves(gateway, 200, timeout=BOOT_SECONDS)

    await operations.command(gateway, "delete")
    await operations.gone(gateway)
