"""What certbot is asked, as data: which command line and which environment belong to an order. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

PRODUCTION = "https://acme-v02.api.letsencrypt.org/directory"
STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory"

CONFIG, WORK, LOGS, TEMPORARY = "config", "work", "logs", "tmp"
"""Certbot's folders, in the folder in which it is run."""
DEPLOY_HOOK = "./deploy"
"""Relative as well: certbot keeps it for renewals, and the folder may have moved by then."""

_KEPT_LOGS = 10
# Without the caller's HOME: certbot and its plugins would read what somebody set for other purposes there.
_PASSED_ON = (
    "PATH",
    "TZ",
    *(name for it in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY") for name in (it, it.lower())),
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
)


class Source(StrEnum):
    """Who vouches for the domain, and how the domain is proved to be ours."""

    LOCAL = "local"
    CLOUDFLARE = "cloudflare"
    RFC2136 = "rfc2136"
    MANUAL = "manual"


class Command(StrEnum):
    """What certbot is to do. ``CERTONLY`` gets a first or a changed certificate, and keeps one that is not due."""

    CERTONLY = "certonly"
    RENEW = "renew"


@dataclass(frozen=True, slots=True)
class Order:
    """A certificate for ``domain`` and its direct subdomains, and everything that getting it takes."""

    domain: str
    source: Source
    directory: str = "production"
    """``production``, ``staging``, or the URL of another ACME directory."""
    email: str | None = None
    profile: str | None = None
    propagation_seconds: int | None = None
    credentials: Path | None = None
    auth_hook: Path | None = None
    cleanup_hook: Path | None = None
    ca_file: Path | None = None
    """What the directory's own certificate is checked against, instead of the public authorities."""
    cloudflare_url: str | None = None

    @property
    def authority(self) -> str:
        """URL of the directory."""
        return {"production": PRODUCTION, "staging": STAGING}.get(self.directory, self.directory)

    @property
    def folder_name(self) -> str:
        """A folder of its own for each directory: otherwise a certificate of staging might be served."""
        if self.directory in {"production", "staging"}:
            return self.directory
        host = urlsplit(self.directory).hostname or "acme"
        return f"{host}-{hashlib.sha256(self.directory.encode()).hexdigest()[:8]}"


def arguments(order: Order, command: Command, *, dry_run: bool = False, force: bool = False) -> list[str]:
    """Return certbot's arguments. They hold no secrets: other users see them."""
    line = [command.value, "--non-interactive", "--cert-name", order.domain]
    if command is Command.CERTONLY:
        line += ["-d", order.domain, "-d", f"*.{order.domain}"]
        line += [] if force else ["--keep-until-expiring"]
    else:
        line += ["--no-random-sleep-on-renew"]
    line += ["--force-renewal"] if force else []
    line += ["--dry-run"] if dry_run else []
    line += ["--config-dir", CONFIG, "--work-dir", WORK, "--logs-dir", LOGS, "--max-log-backups", str(_KEPT_LOGS)]
    line += ["--deploy-hook", DEPLOY_HOOK, "--disable-hook-validation"]
    line += ["--agree-tos", "--no-eff-email"]
    line += ["--email", order.email] if order.email else ["--register-unsafely-without-email"]
    line += ["--staging"] if order.directory == "staging" else ["--server", order.authority]
    line += ["--required-profile", order.profile] if order.profile else []
    return line + _proof(order)


def environment(order: Order, inherited: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return the environment in which certbot and its hooks run: nothing of ours that they do not need."""
    passed_on = {name: inherited[name] for name in _PASSED_ON if inherited.get(name)}
    own = {"HOME": str(home), "TMPDIR": str(home / TEMPORARY), "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    if order.ca_file:
        own["REQUESTS_CA_BUNDLE"] = str(order.ca_file)
    if order.cloudflare_url:
        # The plugin of certbot 5 reads the first, Debian's the second.
        own |= {"CLOUDFLARE_BASE_URL": order.cloudflare_url, "CLOUDFLARE_API_URL": order.cloudflare_url}
    return {**passed_on, **own}


def _proof(order: Order) -> list[str]:
    if order.source is Source.MANUAL:
        line = ["--manual", "--preferred-challenges", "dns", "--manual-auth-hook", _in_shell(order.auth_hook)]
        return line + (["--manual-cleanup-hook", _in_shell(order.cleanup_hook)] if order.cleanup_hook else [])
    plugin = f"--dns-{order.source}"
    line = [plugin, f"{plugin}-credentials", str(order.credentials)]
    if order.propagation_seconds is not None:
        line += [f"{plugin}-propagation-seconds", str(order.propagation_seconds)]
    return line


def _in_shell(hook: Path | None) -> str:
    # Certbot gives hooks to a shell. A percent sign would be taken for interpolation when it reads its files.
    return f"'{str(hook).replace(chr(39), chr(39) + chr(92) + chr(39) + chr(39))}'"
