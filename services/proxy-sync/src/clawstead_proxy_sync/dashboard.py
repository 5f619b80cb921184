"""How the platform's own dashboard is served: a page that draws itself, from files that a build has named.

Files below ``assets/`` carry a hash in their names, so browsers keep them for a year; everything else is asked for
anew each time, above all the start page, which names the assets.
"""

FOLDER = "dashboard"
"""Below proxy-sync's own folder, where nginx's workers can read it wherever the build lies."""
START_PAGE = "index.html"

MEDIA_TYPES = (
    ("text/html", "html"),
    ("text/css", "css"),
    ("text/javascript", "js mjs"),
    ("text/plain", "txt"),
    ("application/json", "json map"),
    ("application/manifest+json", "webmanifest"),
    ("application/wasm", "wasm"),
    ("image/svg+xml", "svg"),
    ("image/png", "png"),
    ("image/jpeg", "jpg jpeg"),
    ("image/webp", "webp"),
    ("image/avif", "avif"),
    ("image/gif", "gif"),
    ("image/x-icon", "ico"),
    ("font/woff2", "woff2"),
    ("font/woff", "woff"),
)


def content_security_policy(base_url: str) -> str:
    """Return the policy of the dashboard: its own files and its own API, and styles that a terminal sets by itself."""
    return "; ".join(
        [
            "default-src 'self'",
            "script-src 'self'",
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self' data:",
            # Older browsers do not count a WebSocket to the same host as 'self'.
            f"connect-src 'self' wss://{base_url.removeprefix('https://')}",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        ]
    )
