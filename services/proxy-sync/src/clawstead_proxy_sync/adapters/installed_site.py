"""Our site in the machine's nginx. Its file is root's, so what changes by itself lies behind fixed names of ours.

tls/served.pem, tls/served.key   links to the certificate and the key in use
"""

import asyncio
import os
import re
import secrets
from dataclasses import replace
from pathlib import Path

from clawstead_proxy_sync import nginx_conf
from clawstead_proxy_sync.adapters.files import make_directory, write_atomically
from clawstead_proxy_sync.adapters.layout import Layout
from clawstead_proxy_sync.errors import EdgeUnavailableError
from clawstead_proxy_sync.nginx_conf import CONTROL_KEY, NginxConfig

_PLAIN_PATH = re.compile(r"/[A-Za-z0-9._/@+=-]+")
_OTHERS_PASS = 0o001
_KEY_BYTES = 32
_CHAIN, _KEY = "tls/served.pem", "tls/served.key"


def site_config(config: NginxConfig) -> NginxConfig:
    """Return ``config`` as the site file states it: nothing in it changes when the certificate does."""
    certificate, key = f"{config.root}{_CHAIN}", f"{config.root}{_KEY}"
    return replace(config, certificate=certificate, certificate_key=key, certificate_digest="")


class InstalledSite:
    """The site file that somebody installed, and what it points at. Keeps ``ConfigFile``."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._links: dict[str, str] = {}
        self._revision = ""

    @property
    def revision(self) -> str:
        """See ``ConfigFile.revision``."""
        return self._revision

    def use(self, config: NginxConfig) -> None:
        """See ``ConfigFile.use``."""
        self._links = {_CHAIN: config.certificate, _KEY: config.certificate_key}
        self._revision = nginx_conf.revision(site_config(config))

    def linked(self) -> bool:
        """Say whether there is a certificate for nginx to load, and a key to learn."""
        return all((self._layout.directory / name).exists() for name in (_CHAIN, _KEY, CONTROL_KEY))

    async def store(self) -> None:
        """See ``ConfigFile.store``."""
        await asyncio.to_thread(self._store)

    def _store(self) -> None:
        check_reachable(self._layout.directory)
        make_directory(self._layout.control_key.parent, mode=0o700)
        if not self._layout.control_key.exists():
            write_atomically(self._layout.control_key, secrets.token_hex(_KEY_BYTES).encode(), mode=0o600)
        for name, certificate in self._links.items():
            _link(self._layout.directory / name, self._layout.directory / certificate)


def check_reachable(directory: Path) -> None:
    """Check that nginx can name this folder, and that its workers, another user, get through to it.

    Raises:
        EdgeUnavailableError: it is not so; what to do about it is in the message.
    """
    if not _PLAIN_PATH.fullmatch(str(directory)):
        raise EdgeUnavailableError(
            f"the machine's nginx cannot be told of {directory}: for it a path may hold only letters, digits and"
            " . _ - / @ + =; set CLAWSTEAD_DATA_DIR to another"
        )
    closed = [str(parent) for parent in directory.parents if not parent.stat().st_mode & _OTHERS_PASS]
    if closed:
        raise EdgeUnavailableError(
            f"nginx's workers cannot pass through {', '.join(closed)} to gates and pages in {directory}:"
            f" type `sudo chmod o+x {' '.join(closed)}`, or set CLAWSTEAD_DATA_DIR to a folder like /var/lib/clawstead"
        )


def _link(link: Path, target: Path) -> None:
    folder = link.parents[1]
    # Relative, so that the folder may be moved as a whole.
    wanted = Path(os.path.relpath(target, link.parent)) if target.is_relative_to(folder) else target
    if link.is_symlink() and link.readlink() == wanted:
        return
    candidate = link.with_name(f".{link.name}.new")
    candidate.unlink(missing_ok=True)
    candidate.symlink_to(wanted)
    candidate.replace(link)
