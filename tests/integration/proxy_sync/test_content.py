"""How content reaches visitors: compressed where that helps, streamed where it must be, and the dashboard's files."""

import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import websockets

from clawstead_proxy_sync.adapters.dashboard_files import DashboardFiles
from tests.integration.proxy_sync.conftest import make_settings, running
from tests.support.site import EchoSite, SiteClient
from tests.support.wait import wait_until

HASHED = "assets/index-B7x2Kq9a.js"
SCRIPT = b"console.log('the dashboard');" * 100
POLICY = "script-src 'self'"


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """What a build leaves: a start page, and parts with a hash in their name."""
    folder = tmp_path / "dist"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text(f'<!doctype html><script src="/{HASHED}"></script>')
    (folder / "favicon.svg").write_text("<svg/>")
    (folder / "assets" / "plain.css").write_text("a{}")
    (folder / HASHED).write_bytes(SCRIPT)
    (folder / f"{HASHED}.gz").write_bytes(gzip.compress(SCRIPT + b"// beforehand"))
    (folder / ".env").write_text("SECRET=canary")
    folder.chmod(0o700)
    return folder


@pytest.fixture
async def dashboard(tmp_path: Path, build: Path, site: EchoSite) -> AsyncIterator[SiteClient]:
    settings = make_settings(tmp_path, api_port=site.port, dashboard_dir=build)
    DashboardFiles(build, settings.directory / "dashboard").refresh()
    async for it in running(settings):
        async with SiteClient(it.layout.tls / "ca.pem", settings.https_port) as client:
            yield client


async def test_the_dashboard_is_served_with_what_browsers_may_keep(dashboard: SiteClient) -> None:
    expected = {
        "/": ("text/html; charset=utf-8", "no-cache"),
        "/index.html": ("text/html; charset=utf-8", "no-cache"),
        "/instances/01j9/terminal": ("text/html; charset=utf-8", "no-cache"),
        "/favicon.svg": ("image/svg+xml", "no-cache"),
        "/assets/plain.css": ("text/css; charset=utf-8", "no-cache"),
        f"/{HASHED}": ("text/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
    }
    for path, (media_type, cached) in expected.items():
        response = await dashboard.get(None, path)
        assert response.status_code == 200, path
        assert (response.headers["content-type"], response.headers["cache-control"]) == (media_type, cached), path
        assert POLICY in response.headers["content-security-policy"]
        assert response.headers["strict-transport-security"] == "max-age=31536000"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "x-request-id" in response.headers
    again = await dashboard.get(None, "/", headers={"If-None-Match": (await dashboard.get(None, "/")).headers["etag"]})
    assert again.status_code == 304


async def test_what_was_compressed_beforehand_is_taken(dashboard: SiteClient) -> None:
    packed = await dashboard.get(None, f"/{HASHED}", headers={"Accept-Encoding": "gzip"})
    plain = await dashboard.get(None, f"/{HASHED}", headers={"Accept-Encoding": "identity"})
    assert packed.content.endswith(b"// beforehand")
    assert plain.content == SCRIPT
    assert packed.headers["cache-control"] == plain.headers["cache-control"]


async def test_what_the_dashboard_lacks_is_not_its_start_page(dashboard: SiteClient) -> None:
    for path in ("/assets/gone-12345678.js", "/.env", "/robots.txt", "/assets/../../nginx.conf", "/a.b/c.php"):
        response = await dashboard.get(None, path)
        assert response.status_code == 404, path
        assert response.headers["cache-control"] == "no-store", "not for a year, once it is there"
        assert "canary" not in response.text
    refused = await dashboard.request("POST", None, "/index.html", content=b"x")
    assert refused.status_code == 405
    assert (await dashboard.get(None, "/api/v1/plans")).json()["path"] == "/api/v1/plans"
    assert "Opening your dashboard" in (await dashboard.get(None, "/open")).text


async def test_a_new_build_replaces_the_old_one_and_half_of_one_does_not(tmp_path: Path, build: Path) -> None:
    copy = tmp_path / "copy"
    files = DashboardFiles(build, copy)
    files.refresh()
    before = (copy / HASHED).stat()
    assert oct(copy.stat().st_mode & 0o777) == "0o755"
    files.refresh()
    assert (copy / HASHED).stat().st_ino == before.st_ino, "what is there already is not written again"
    (build / "index.html").unlink()
    (build / HASHED).unlink()
    files.refresh()
    assert (copy / HASHED).is_file()
    (build / "index.html").write_text("new")
    files.refresh()
    assert (copy / "index.html").read_text() == "new"
    assert not (copy / HASHED).exists()
    assert not (copy / ".env").exists()


@pytest.mark.parametrize("path", ["/gzip/text/event-stream", "/gzip/image/png", "/gzip/video/mp4"])
async def test_streams_and_what_is_compressed_already_are_left_alone(client: SiteClient, path: str) -> None:
    response = await client.get(None, f"/api{path}", headers={"Accept-Encoding": "gzip"})
    assert response.status_code == 200
    assert "content-encoding" not in response.headers


async def test_what_compresses_well_is_compressed_once(client: SiteClient) -> None:
    for kind in ("application/json", "text/css", "application/problem+json"):
        response = await client.get(None, f"/api/gzip/{kind}", headers={"Accept-Encoding": "gzip"})
        assert response.headers["content-encoding"] == "gzip"
        assert response.headers["vary"] == "Accept-Encoding"
        assert int(response.headers.get("content-length", 0)) < 1000
    done = await client.get(None, "/api/gzip/encoded", headers={"Accept-Encoding": "gzip"})
    assert json.loads(done.content) == {"encoded": "by the site"}


async def test_a_connection_is_watched_by_the_kernel_on_both_sides(client: SiteClient, site: EchoSite) -> None:
    """A peer that vanished without a word is noticed although a WebSocket may be silent for an hour."""
    async with websockets.connect(f"wss://claw.localhost:{client.port}/ws/terminal", host="127.0.0.1", ssl=client.tls):
        # Anything on its way has a timer of its own before that.
        await wait_until(lambda: {(client.port, None), (None, site.port)} <= kept_alive(), timeout=5)


ESTABLISHED = "01"
KEEP_ALIVE = "02"


def kept_alive() -> set[tuple[int | None, int | None]]:
    """Return the local and the remote ports of this machine's established connections that the kernel watches."""
    found: set[tuple[int | None, int | None]] = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, _, timer, *_ = line.split()
        if state == ESTABLISHED and timer.startswith(KEEP_ALIVE):
            found |= {(int(local.rpartition(":")[2], 16), None), (None, int(remote.rpartition(":")[2], 16))}
    return found
