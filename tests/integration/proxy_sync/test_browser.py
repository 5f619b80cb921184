"""The edge's pages in a real browser: they refresh, open dashboards, and keep to their own policy."""

import json
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page

from clawstead_proxy_sync import nginx_map
from clawstead_proxy_sync.nginx_map import Upstream
from tests.e2e.browser import chromium, new_visitor
from tests.integration.proxy_sync.conftest import RunningEdge
from tests.support.site import EchoSite
from tests.support.wait import wait_until

pytestmark = pytest.mark.alone

TICKET = "canary-ticket"


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as browser:
        yield browser


@pytest.fixture
async def page(browser: Browser) -> Page:
    return await new_visitor(browser)


@pytest.fixture
def complaints(page: Page) -> list[str]:
    """What the browser wrote to its console about violated policies and failing scripts."""
    found: list[str] = []
    page.on(
        "console", lambda message: found.append(message.text) if "Content Security Policy" in message.text else None
    )
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


def url(edge: RunningEdge, label: str | None, path: str = "/") -> str:
    host = f"{label}.claw.localhost" if label else "claw.localhost"
    return f"https://{host}:{edge.settings.https_port}{path}"


async def test_the_starting_page_turns_into_the_instance_by_itself(
    running_edge: RunningEdge, page: Page, complaints: list[str], upstream: Upstream
) -> None:
    await running_edge.edge.publish({"blue": upstream})
    await page.goto(url(running_edge, "blue", "/#kept"))
    assert await page.inner_text("h1") == "Your instance is starting"
    running_edge.edge.open_gate("blue")
    await page.get_by_text("X-Forwarded-For").wait_for(timeout=15_000)
    assert page.url.endswith("/#kept")
    assert complaints == []


async def test_the_stopped_page_follows_the_instance_into_starting(running_edge: RunningEdge, page: Page) -> None:
    running_edge.edge.close_gate("blue", nginx_map.Page.STOPPED)
    await page.goto(url(running_edge, "blue"))
    assert await page.inner_text("h1") == "This instance is stopped"
    running_edge.edge.close_gate("blue", nginx_map.Page.STARTING)
    await page.get_by_role("heading", name="is starting").wait_for(timeout=15_000)


@pytest.mark.parametrize("path", ["/", "/open", "/nowhere"])
async def test_pages_are_drawn_as_designed_under_their_policy(
    running_edge: RunningEdge, page: Page, complaints: list[str], path: str
) -> None:
    await page.goto(url(running_edge, None, path))
    assert await page.evaluate("getComputedStyle(document.querySelector('main')).borderRadius") == "14px"
    assert complaints == []


async def test_a_dashboard_link_redeems_its_ticket_and_leads_to_the_instance(
    running_edge: RunningEdge, page: Page, complaints: list[str], site: EchoSite, upstream: Upstream
) -> None:
    running_edge.edge.open_gate("blue")
    await running_edge.edge.publish({"blue": upstream})
    target = url(running_edge, "blue", "/#bootstrapToken=T&bootstrapProfile=owner")
    site.dashboard = {"type": "redirect", "url": target}
    await page.goto(url(running_edge, None, f"/open#ticket={TICKET}"))
    await page.wait_for_url(target, timeout=15_000)
    assert [json.loads(message) for message in site.messages] == [{"type": "auth", "ticket": TICKET}]
    assert complaints == []


async def test_the_ticket_is_in_no_request_and_gone_from_the_address_bar(
    running_edge: RunningEdge, page: Page, site: EchoSite
) -> None:
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    await page.goto(url(running_edge, None, f"/open#ticket={TICKET}"))
    await wait_until(lambda: site.messages)
    assert page.url == url(running_edge, None, "/open")
    assert not any(TICKET in address.partition("#")[0] for address in requested)


@pytest.mark.parametrize(
    ("answer", "heading"),
    [
        ({"type": "error", "code": "ticket_used", "message": "This link was used already."}, "did not open"),
        ({"type": "redirect", "url": "https://evil.test/"}, "cannot be opened"),
        ({"type": "redirect", "url": "https://evilclaw.localhost/"}, "cannot be opened"),
        ({"type": "redirect", "url": "javascript:alert(1)"}, "cannot be opened"),
        ({}, "did not open"),
    ],
)
async def test_a_link_that_does_not_work_says_so_and_leads_nowhere(
    running_edge: RunningEdge, page: Page, site: EchoSite, answer: dict[str, str], heading: str
) -> None:
    site.dashboard = answer
    await page.goto(url(running_edge, None, f"/open#ticket={TICKET}"))
    await page.get_by_role("heading", name=heading).wait_for(timeout=15_000)
    assert "Ask for a new" in await page.inner_text("p") or "outside this platform" in await page.inner_text("p")
    assert page.url == url(running_edge, None, "/open")


async def test_a_link_without_a_ticket_says_so(running_edge: RunningEdge, page: Page, site: EchoSite) -> None:
    await page.goto(url(running_edge, None, "/open"))
    assert "incomplete" in await page.inner_text("h1")
    assert site.messages == []
