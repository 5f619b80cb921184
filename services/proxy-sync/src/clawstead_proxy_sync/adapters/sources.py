"""Which source the settings ask for."""

from pathlib import Path

from clawstead_proxy_sync.adapters.acme import AcmeSource
from clawstead_proxy_sync.adapters.certbot import Certbot
from clawstead_proxy_sync.adapters.local_ca import LocalAuthority
from clawstead_proxy_sync.certificate_settings import CertificateSettings
from clawstead_proxy_sync.certificates.order import Source
from clawstead_proxy_sync.ports import CertificateSource


def certificate_source(settings: CertificateSettings, tls: Path) -> CertificateSource:
    """Return the source of the domain's certificate; everything of it lies in the folder ``tls``."""
    local = LocalAuthority(tls, settings.domain)
    if settings.certificates is Source.LOCAL:
        return local
    order = settings.order(tls / "certbot")
    folder = tls / "certbot" / order.folder_name
    certbot = Certbot(order, folder, binary=settings.certbot_binary)
    return AcmeSource(order, folder, local, certbot, token=settings.cloudflare_token)
