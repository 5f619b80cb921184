"""The configuration of the edge: pure text from typed values.

Our own nginx runs with proxy-sync's folder as working directory and prefix (``nginx -p ./``), and every path below
is relative. So its unprivileged workers reach gates and pages even where a parent folder is closed to them,
the status socket's name is short, and a process tells by its working directory whose it is. The file itself
lies in that folder too: nginx resolves some relative paths against the file's folder, and those even twice.
In the nginx of the machine our site stands between others, and every path begins with ``root``.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from clawstead_proxy_sync import dashboard
from clawstead_proxy_sync.nginx_map import GENERATION_KEY, Page
from clawstead_proxy_sync.rates import Rate

MAP_FILE = "nginx/routes.map"
CANDIDATE_MAP_FILE = "nginx/routes.map.new"
CONTROL_SOCKET = "control/control.sock"
CONTROL_KEY = "control/key"
LOOPBACK_CLIENT = "192.0.2.1"
"""RFC 5737 documentation address, under which clients on this machine are reported to a gateway."""

_CLIENT_HEADERS = frozenset(
    {"Cf-Connecting-Ip", "Fastly-Client-Ip", "True-Client-Ip", "X-Client-Ip", "X-Cluster-Client-Ip"}
)
"""Where other proxies name the client: whatever is behind the edge could believe a visitor's own."""
_FORWARDED_HEADERS = frozenset({"Forwarded", "X-Forwarded-For", "X-Real-Ip"})
SPARE_FILES = 1024
"""Of a worker, beyond its connections: pages, logs, request bodies."""
_REVISION_DIGITS = 12
_BUCKET_SIZE = 128
"""Of nginx's map hash, in bytes: with the default of 64 a label of 63 characters breaks every later reload."""


@dataclass(frozen=True, slots=True)
class NginxConfig:
    """The values that shape the configuration. Hosts are addresses or names without special characters."""

    domain: str
    https_port: int
    http_port: int
    public_port_suffix: str
    addresses: tuple[str, ...]
    """Listen addresses as nginx writes them, IPv6 in brackets."""
    api: str
    terminal: str
    route_question: str
    """``host:port/path`` of proxy-sync's own answer to where a label leads."""
    content_security_policy: str
    certificate: str
    """Path relative to the folder, as is the key's."""
    certificate_key: str
    certificate_digest: str
    workers: int
    drain_seconds: int
    """How long connections of an earlier table may go on."""
    connections: int = 4096
    """Of one worker; a request that is passed on takes two."""
    live: bool = False
    """Whether routes are in a dictionary that is changed at once, or else in the map."""
    modules: tuple[str, ...] = ()
    """The modules that this nginx has to load for it."""
    dictionary: str = "32m"
    """The size of that dictionary: a line takes 128 bytes."""
    user: str | None = None
    """Who the workers run as, when the master is root."""
    limits: tuple[tuple[str, Rate], ...] = ()
    """What one address may not do more often, by the name that the templates know it by."""
    trusted_proxies: tuple[str, ...] = ()
    client_header: str = "X-Forwarded-For"
    """Where trusted proxies say who the client is."""
    dashboard_policy: str | None = None
    """Content security policy of the dashboard, None without one."""
    root: str = ""
    """What goes before every path: nothing where nginx works in the folder, else the folder with a slash at its end."""
    logs: str = "nginx/"
    """What goes before the names of the logs."""
    status: str = "unix:nginx/status.sock"
    """Where proxy-sync asks what is served, as nginx writes it."""
    control: str = f"unix:{CONTROL_SOCKET}"
    """Where proxy-sync changes routes, as nginx writes it."""
    control_key: str | None = None
    """File of what a change must show, where anybody on this machine may ask."""


def render(config: NginxConfig) -> str:
    """Return the configuration: of an nginx of our own, or of our site in the machine's if there is a ``root``."""
    return _rendered(config, revision=revision(config))


def revision(config: NginxConfig) -> str:
    """Return what the status server shows, to prove that a configuration is in use.

    It changes with the text, and with what the text only points at (the certificate).
    """
    seed = f"{_rendered(config, revision='')}\n{config.certificate_digest}"
    return hashlib.sha256(seed.encode()).hexdigest()[:_REVISION_DIGITS]


def render_map_check() -> str:
    """Return a configuration that does nothing but read the candidate map.

    To test the map with it takes 3 ms instead of 16, for it loads no certificate and opens no port.
    """
    template = environment().get_template("map-check.conf.j2")
    return template.render(map_file=CANDIDATE_MAP_FILE, bucket_size=_BUCKET_SIZE)


def render_lua_check(modules: tuple[str, ...]) -> str:
    """Return a configuration that does nothing but load modules."""
    return environment().get_template("lua-check.conf.j2").render(modules=modules)


def _rendered(config: NginxConfig, *, revision: str) -> str:
    return (
        environment()
        .get_template("system-site.conf.j2" if config.root else "nginx.conf.j2")
        .render(
            {name: getattr(config, name) for name in config.__slots__},
            bucket_size=_BUCKET_SIZE,
            dashboard=dashboard.FOLDER if config.dashboard_policy else None,
            dashboard_types=dashboard.MEDIA_TYPES,
            other_client_headers=_other_client_headers(config.client_header),
            gate_pages=[str(page) for page in Page],
            domain_pattern=re.escape(config.domain),
            generation_key=GENERATION_KEY,
            loopback_client=LOOPBACK_CLIENT,
            map_file=MAP_FILE,
            revision=revision,
            spare_files=SPARE_FILES,
        )
    )


def _other_client_headers(client_header: str) -> list[str]:
    return sorted({*_CLIENT_HEADERS, client_header.title()} - _FORWARDED_HEADERS)


@cache
def environment() -> Environment:
    """Return the environment in which all templates of this package are rendered."""
    return Environment(
        loader=PackageLoader("clawstead_proxy_sync"),
        autoescape=select_autoescape(enabled_extensions=("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
