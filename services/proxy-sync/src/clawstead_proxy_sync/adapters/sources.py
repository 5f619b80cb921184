"""Which source the settings ask for."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from clawstead_proxy_sync.adapters.acme import AcmeSource
from clawstead_proxy_sync.adapters.certbot import Certbot
from clawstead_proxy_sync.adapters.local_ca import LocalAuthority
from clawstead_proxy_sync.adapters.memory_file import MemoryFile
from clawstead_proxy_sync.certificate_settings import CertificateSettings
from clawstead_proxy_sync.certificates.order import Order, Source
from clawstead_proxy_sync.ports import CertificateSource


@dataclass(frozen=True, slots=True)
class Ordered:
    """An order, who carries it out, and where what came of it is remembered."""

    order: Order
    source: CertificateSource
    memory: MemoryFile
    settings: str
    """Digest of what the order depends on, secrets too."""


def ordered(settings: CertificateSettings, tls: Path) -> Ordered:
    """Return what the settings order; all of it lies below the folder ``tls``."""
    local = LocalAuthority(tls, settings.domain)
    order = settings.order(tls / "certbot")
    if settings.certificates is Source.LOCAL:
        return Ordered(order, local, MemoryFile(tls / "memory.json"), "")
    folder = tls / "certbot" / order.folder_name
    certbot = Certbot(order, folder, binary=settings.certbot_binary)
    source = AcmeSource(order, folder, local, certbot, token=settings.cloudflare_token)
    return Ordered(order, source, MemoryFile(folder / "memory.json"), _digest(order, settings.cloudflare_token))


def _digest(order: Order, token: str | None) -> str:
    try:
        changed = order.credentials.stat().st_mtime_ns if order.credentials and not token else 0
    except OSError:
        changed = 0
    return hashlib.sha256(repr((order, token, changed)).encode()).hexdigest()[:16]
