"""The pages that the edge itself answers with: pure, static, without anything from outside.

Each page comes as HTML, and as problem details (RFC 9457) for clients that ask for JSON.
"""

import base64
import hashlib
import json
from dataclasses import dataclass

from clawstead_proxy_sync.nginx_conf import environment


@dataclass(frozen=True, slots=True)
class Page:
    """One page. Its name is what nginx and the refreshing script know it by."""

    name: str
    status: int
    title: str
    heading: str
    text: str
    script: str | None = None
    refresh_seconds: int | None = None
    busy: bool = False
    link: str | None = None
    link_text: str = ""


_REFRESH = "refresh.js"

PAGES = (
    Page(
        "starting",
        503,
        "Starting",
        "Your instance is starting",
        "This takes a few seconds. The page opens by itself as soon as the instance is ready.",
        script=_REFRESH,
        refresh_seconds=2,
        busy=True,
    ),
    Page(
        "stopped",
        503,
        "Stopped",
        "This instance is stopped",
        "Its data is kept. Start it from the dashboard or the API; this page opens it as soon as it is ready.",
        script=_REFRESH,
        refresh_seconds=5,
    ),
    Page(
        "failed",
        503,
        "Not running",
        "This instance is stopped after a failure",
        "It could not be kept running. Its owner finds the reason in the dashboard or the API.",
        script=_REFRESH,
        refresh_seconds=5,
    ),
    Page(
        "unknown",
        404,
        "No such instance",
        "There is no instance here",
        "Nobody has an instance under this name. Check the address, or ask whoever gave it to you.",
    ),
    Page(
        "not-found",
        404,
        "Not found",
        "There is nothing here",
        "This address leads nowhere on this platform.",
        link="/",
        link_text="To the start page",
    ),
    Page(
        "too-large",
        413,
        "Request too large",
        "The request is too large",
        "The API takes bodies of at most 64 KiB.",
    ),
    Page(
        "unavailable",
        503,
        "Not available",
        "This service is not available",
        "This part of the platform does not answer at the moment. Instances keep running; try again shortly.",
    ),
    Page(
        "welcome",
        200,
        "Clawstead",
        "OpenClaw, hosted",
        "Every instance on this platform has an address of its own. They are made and managed through the API.",
        link="/api/v1/openapi.json",
        link_text="API description (OpenAPI)",
    ),
    Page(
        "open",
        200,
        "Opening your dashboard",
        "Opening your dashboard…",
        "Your instance is being asked for a way in. This takes a few seconds.",
        script="open.js",
        busy=True,
    ),
)


def render() -> dict[str, bytes]:
    """Return every page by its file name."""
    files: dict[str, bytes] = {}
    template = environment().get_template("pages/page.html.j2")
    for page in PAGES:
        script = _source(page.script) if page.script else None
        files[f"{page.name}.html"] = template.render(page=page, css=_source("page.css"), script=script).encode()
        files[f"{page.name}.json"] = _problem(page)
    return files


def content_security_policy() -> str:
    """Return the policy under which the pages run: their own style and scripts, and nothing else."""
    scripts = sorted({page.script for page in PAGES if page.script})
    return "; ".join(
        [
            "default-src 'none'",
            f"style-src {_hash_of('page.css')}",
            f"script-src {' '.join(map(_hash_of, scripts))}",
            "img-src data:",
            "connect-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def _problem(page: Page) -> bytes:
    details = {"type": "about:blank", "title": page.title, "status": page.status, "detail": page.text}
    return json.dumps(details).encode()


def _source(name: str) -> str:
    loader = environment().loader
    assert loader
    return loader.get_source(environment(), f"pages/{name}")[0]


def _hash_of(name: str) -> str:
    digest = hashlib.sha256(_source(name).encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
