"""A real Chromium, on this machine or on a test host with an address of its own."""

import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from playwright.async_api import Browser, Page, async_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@asynccontextmanager
async def chromium(executable: str = CHROMIUM, address: str = "127.0.0.1") -> AsyncIterator[Browser]:
    """Start a browser that finds the platform's names at ``address``."""
    rules = f"--host-resolver-rules=MAP *.claw.localhost {address}, MAP claw.localhost {address}"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=[*FLAGS, rules], timeout=60_000)
        yield browser
        await browser.close()


async def new_visitor(browser: Browser) -> Page:
    """Open a page in a profile of its own, which trusts the local authority."""
    context = await browser.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 800})
    return await context.new_page()


@contextmanager
def other_host(directory: Path, name: str = "claw-e2e") -> Iterator[tuple[str, str]]:
    """Make a network namespace joined to this machine; yield how to run Chromium there, and our address.

    Addresses are from TEST-NET-2 (RFC 5737), which no real network uses. There is no IPv6: its addresses come a second
    after the link, and a browser drops what it loads when the networks change.
    """
    ours, theirs = "198.51.100.1", "198.51.100.2"
    commands = [
        f"ip netns add {name}",
        f"ip link add {name}-0 type veth peer name {name}-1 netns {name}",
        f"ip link set {name}-0 addrgenmode none",
        f"ip -n {name} link set {name}-1 addrgenmode none",
        f"ip addr add {ours}/30 dev {name}-0",
        f"ip link set {name}-0 up",
        f"ip -n {name} addr add {theirs}/30 dev {name}-1",
        f"ip -n {name} link set {name}-1 up",
        f"ip -n {name} link set lo up",
    ]
    wrapper = directory / "chromium-elsewhere"
    wrapper.write_text(f'#!/bin/sh\nexec nsenter --net=/run/netns/{name} {CHROMIUM} "$@"\n')
    wrapper.chmod(0o755)
    _remove(name)  # a run that was killed leaves it
    try:
        for command in commands:
            subprocess.run(command.split(), check=True, capture_output=True)
        yield str(wrapper), ours
    finally:
        _remove(name)


def _remove(name: str) -> None:
    subprocess.run(["ip", "link", "del", f"{name}-0"], check=False, capture_output=True)
    subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
