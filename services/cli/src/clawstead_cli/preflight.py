"""What must hold before anything is started; all of it is looked at first, so that nothing is left half done."""

import os
import shutil

from clawstead_cli.adapters.docker_engine import DockerEngine
from clawstead_cli.adapters.machine_nginx import SITE_FILE
from clawstead_cli.adapters.process_table import conflicts
from clawstead_cli.errors import MissingError, UsageError
from clawstead_cli.programs import executables, listeners
from clawstead_cli.settings import Settings


def require_all(settings: Settings) -> None:
    """Check root, programs, ports, engine and image, in the order in which a newcomer would fix them.

    Raises:
        MissingError: the machine lacks something; the hint says what to do.
        UsageError: settings contradict each other.
    """
    _require_root()
    _require_programs(settings)
    require_certificates(settings)
    _require_site(settings)
    _require_engine(settings.image)
    _require_ports(settings)


def _require_root() -> None:
    if os.geteuid() != 0:
        raise MissingError(
            "clawstead up needs root: instance directories belong to the user of their container (uid 1000)",
            hint="run it as root, for example `sudo make up`",
        )


def _require_programs(settings: Settings) -> None:
    missing = [str(path) for path in executables(settings) if not path.exists()]
    if missing:
        raise MissingError(f"not installed: {', '.join(missing)}", hint="run `make setup`")
    if shutil.which("nginx") is None and shutil.which("nginx", path="/usr/sbin:/usr/local/sbin") is None:
        raise MissingError("nginx is not installed", hint="run `make setup`, or `apt-get install nginx-light`")


def _require_site(settings: Settings) -> None:
    if settings.edge_mode == "system" and not SITE_FILE.exists():
        raise MissingError(
            f"the edge is to be a site in this machine's nginx, and is not installed there ({SITE_FILE})",
            hint="`clawstead edge install` puts it there, with the same settings",
        )


def require_certificates(settings: Settings) -> None:
    """Check what a certificate from a public authority takes, if one is wanted.

    Raises:
        MissingError: certbot is not installed.
        UsageError: a setting is missing.
    """
    if settings.certificates == "local":
        return
    means = f"CLAWSTEAD_CERTIFICATES={settings.certificates} needs"
    if settings.certbot is None:
        raise MissingError(
            f"certbot is not installed, and {means} it",
            hint="run `scripts/setup.sh --certbot`; CERTBOT_BINARY names another",
        )
    public = settings.acme_directory in {"production", "staging"}
    if public and settings.domain.rpartition(".")[2] == "localhost":
        raise UsageError(f"{means} a domain of yours, not {settings.domain}", hint="set CLAWSTEAD_DOMAIN")
    given = settings.dns_credentials_file is not None
    if settings.certificates == "cloudflare" and not (given or os.environ.get("CLOUDFLARE_API_TOKEN")):
        raise UsageError(f"{means} a token that may edit the zone", hint="set CLOUDFLARE_API_TOKEN")
    if settings.certificates == "rfc2136" and not given:
        raise UsageError(f"{means} the name server's key", hint="set CLAWSTEAD_DNS_CREDENTIALS_FILE")
    if settings.certificates == "manual" and settings.acme_auth_hook is None:
        raise UsageError(f"{means} a program that sets the TXT record", hint="set CLAWSTEAD_ACME_AUTH_HOOK")


def _require_engine(image: str) -> None:
    engine = DockerEngine()
    if not engine.local:
        return
    engine.require()
    if not engine.has_image(image):
        raise MissingError(
            f"the image of the instances, {image}, is not on this machine",
            hint=f"`make setup` builds openclaw:local; for another: `docker pull {image}`; CLAWSTEAD_IMAGE names it",
        )


def _require_ports(settings: Settings) -> None:
    found = conflicts(listeners(settings))
    if found:
        lines = [
            f"{conflict.listener.port} for {conflict.listener.program}: held by {conflict.holder},"
            f" {conflict.listener.variable} moves it"
            for conflict in found
        ]
        raise MissingError(
            "ports are in use:\n  " + "\n  ".join(lines),
            hint="stop what holds them, or set the variables to free ports",
        )
