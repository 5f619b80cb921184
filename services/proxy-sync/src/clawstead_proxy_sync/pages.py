"""The pages that the edge itself answers with: pure, static but for the request id, without anything from outside.

Each page comes as HTML, and what refuses also as problem details (RFC 9457) for clients that ask for JSON.
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
    slug: str | None = None
    """Kind of problem that it stands for, None for a page that is none."""
    script: str | None = None
    refresh_seconds: int | None = None
    busy: bool = False
    link: str | None = None
    link_text: str = ""


_REFRESH = "refresh.js"
_TYPE_ROOT = "urn:clawstead:problem:"
"""As in the API's own refusals, so that clients need not know who refused them."""
_REQUEST_ID = "<!--# echo var='claw_request_id' -->"
"""Filled in by nginx."""

_OF_INSTANCES = (
    Page(
        "starting",
        503,
        "Starting",
        "Your instance is starting",
        "This takes a few seconds. The page opens by itself as soon as the instance is ready.",
        slug="instance-starting",
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
        slug="instance-stopped",
        script=_REFRESH,
        refresh_seconds=5,
    ),
    Page(
        "failed",
        503,
        "Not running",
        "This instance is stopped after a failure",
        "It could not be kept running. Its owner finds the reason in the dashboard or the API.",
        slug="instance-failed",
        script=_REFRESH,
        refresh_seconds=5,
    ),
    Page(
        "unknown",
        404,
        "No such instance",
        "There is no instance here",
        "Nobody has an instance under this name. Check the address, or ask whoever gave it to you.",
        slug="unknown-host",
    ),
    Page(
        "upload-too-large",
        413,
        "Request too large",
        "The request is too large",
        "Instances are sent at most 100 MiB at once.",
        slug="body-too-large",
    ),
)

_OF_THE_PLATFORM = (
    Page(
        "not-found",
        404,
        "Not found",
        "There is nothing here",
        "This address leads nowhere on this platform.",
        slug="not-found",
        link="/",
        link_text="To the start page",
    ),
    Page(
        "too-large",
        413,
        "Request too large",
        "The request is too large",
        "The API takes bodies of at most 64 KiB.",
        slug="body-too-large",
    ),
    Page(
        "unavailable",
        503,
        "Not available",
        "This service is not available",
        "This part of the platform does not answer at the moment. Instances keep running; try again shortly.",
        slug="unavailable",
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

_REFUSALS = (
    Page(
        "bad-request",
        400,
        "Bad request",
        "This request cannot be read",
        "It is not HTTP as it is spoken here. This port takes HTTPS only.",
        slug="malformed-request",
    ),
    Page(
        "forbidden",
        403,
        "Forbidden",
        "This is not open to visitors",
        "The address is for the platform's own use.",
        slug="forbidden",
    ),
    Page(
        "not-allowed",
        405,
        "Method not allowed",
        "This cannot be done here",
        "The address takes no requests of this method.",
        slug="method-not-allowed",
    ),
    Page(
        "address-too-long",
        414,
        "Address too long",
        "The address is too long",
        "An address may have 16 KiB at most.",
        slug="address-too-long",
    ),
    Page(
        "misdirected",
        421,
        "Misdirected request",
        "This name is not served here",
        "The connection was made to this platform, but the request is for another name. Open that name by itself.",
        slug="misdirected-request",
    ),
    Page(
        "too-many",
        429,
        "Too many requests",
        "That was too much at once",
        "Too many of these requests came from your address. Nothing was done; try again a little later.",
        slug="rate-limited",
    ),
    Page(
        "header-too-large",
        431,
        "Headers too large",
        "The headers of this request are too large",
        "A header may have 16 KiB at most. Deleting this site's cookies may help.",
        slug="headers-too-large",
    ),
    Page(
        "trouble",
        500,
        "Something went wrong",
        "Something went wrong on our side",
        "The platform could not handle this request. Try again; if it stays so, quote the number below.",
        slug="internal-error",
    ),
)

PAGES = (*_OF_INSTANCES, *_OF_THE_PLATFORM, *_REFUSALS)


def render() -> dict[str, bytes]:
    """Return every page by its file name."""
    files: dict[str, bytes] = {}
    template = environment().get_template("pages/page.html.j2")
    for page in PAGES:
        script = _source(page.script) if page.script else None
        # Who only has to wait needs no number to quote.
        request_id = _REQUEST_ID if page.slug and not page.refresh_seconds else None
        html = template.render(page=page, css=_source("page.css"), script=script, request_id=request_id)
        files[f"{page.name}.html"] = html.encode()
        if page.slug:
            files[f"{page.name}.json"] = _problem(page, page.slug)
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


def _problem(page: Page, slug: str) -> bytes:
    details = {
        "type": f"{_TYPE_ROOT}{slug}",
        "title": page.title,
        "status": page.status,
        "detail": page.text,
        "request_id": _REQUEST_ID,
    }
    return json.dumps(details).encode()


def _source(name: str) -> str:
    loader = environment().loader
    assert loader
    return loader.get_source(environment(), f"pages/{name}")[0]


def _hash_of(name: str) -> str:
    digest = hashlib.sha256(_source(name).encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
