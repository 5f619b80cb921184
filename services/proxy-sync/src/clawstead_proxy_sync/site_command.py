"""``clawstead-proxy-sync site``: the site file for the machine's nginx, for ``clawstead edge install`` to put in place.

Printed by root, who will own the file; what it includes and points at is made by the user who will change it later.
"""

import asyncio
import json
from dataclasses import asdict, dataclass

from clawstead_proxy_sync import nginx_conf, nginx_map, pages
from clawstead_proxy_sync.adapters.files import write_atomically
from clawstead_proxy_sync.adapters.installed_site import InstalledSite, check_reachable, site_config
from clawstead_proxy_sync.adapters.layout import Layout
from clawstead_proxy_sync.adapters.local_ca import LocalAuthority
from clawstead_proxy_sync.adapters.system_command import reload_command
from clawstead_proxy_sync.edge_config import nginx_config
from clawstead_proxy_sync.errors import EdgeUnavailableError
from clawstead_proxy_sync.nginx_map import RouteMap
from clawstead_proxy_sync.settings import Settings


@dataclass(frozen=True, slots=True)
class Site:
    """What is to be installed, and what it takes for itself."""

    directory: str
    text: str
    revision: str
    addresses: tuple[str, ...]
    ports: tuple[int, ...]
    status_port: int
    names: tuple[str, ...]
    reload: tuple[str, ...]
    """The one command that proxy-sync runs through sudo."""


def print_site(settings: Settings) -> None:
    """Print the site that the settings ask for, as JSON; nothing is read or written.

    Raises:
        EdgeUnavailableError: not the settings of an edge in the machine's nginx, or nginx cannot be told of the folder.
    """
    _require_system(settings)
    config = site_config(nginx_config(settings, None))
    site = Site(
        directory=str(settings.directory),
        text=nginx_conf.render(config),
        revision=nginx_conf.revision(config),
        addresses=config.addresses,
        ports=(settings.https_port, settings.http_port, *([settings.edge_control_port] if config.live else [])),
        status_port=settings.edge_status_port,
        names=(settings.domain, f"*.{settings.domain}"),
        reload=reload_command(settings.nginx_binary),
    )
    print(json.dumps(asdict(site)))


def prepare(settings: Settings) -> None:
    """Make the folder and what nginx needs in it to accept the site; what is there stays.

    Raises:
        EdgeUnavailableError: nginx could not use it there; what to do is in the message.
        OSError: it cannot be written.
    """
    _require_system(settings)
    check_reachable(settings.directory)
    layout = Layout(settings.directory)
    layout.prepare(pages.render())
    if not layout.map.exists():
        write_atomically(layout.map, nginx_map.render(RouteMap(1, {})))
    site = InstalledSite(layout)
    if not site.linked():
        certificate = asyncio.run(LocalAuthority(layout.tls, settings.domain).current())
        site.use(nginx_config(settings, certificate))
        asyncio.run(site.store())


def _require_system(settings: Settings) -> None:
    if not settings.system:
        raise EdgeUnavailableError("the edge is an nginx of its own: set CLAWSTEAD_EDGE_MODE=system first")
