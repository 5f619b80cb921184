"""Settings of the domain's certificate: who vouches for it, and what proves that the domain is ours."""

from datetime import timedelta
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from clawstead_proxy_sync.certificates.order import Order, Source
from clawstead_shared.settings import EdgeSettings, Seconds

_DNS_PLUGINS = frozenset({Source.CLOUDFLARE, Source.RFC2136})
_PUBLIC = frozenset({"production", "staging"})
_PRIVATE_NAMES = frozenset({"localhost", "local", "test", "invalid", "example", "internal", "lan", "home", "onion"})
_MOST_PROPAGATION = 240
"""Seconds. Certbot is given five minutes for everything."""


class CertificateSettings(EdgeSettings):
    """What proxy-sync can be told of certificates."""

    # What is wrong with the settings is said without what they are: one of them is a secret.
    model_config = SettingsConfigDict(hide_input_in_errors=True, populate_by_name=True)

    certificates: Source = Source.LOCAL
    """Where the certificate comes from: the installation's own authority, or a public one by certbot."""
    acme_directory: str = Field(default="production", pattern=r"^(production|staging|https://[^\s'\"]+)$")
    """Let's Encrypt's ``production`` or ``staging`` directory, or the URL of another authority's."""
    acme_email: str | None = Field(default=None, pattern=r"^[^@\s'\"-][^@\s'\"]*@[^@\s'\"]+$")
    """Where the authority writes to."""
    acme_ca_file: Path | None = None
    """What a private directory's own certificate is checked against."""
    acme_profile: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Which of its profiles the authority is to use, for example one with short lives."""
    acme_propagation: Seconds | None = Field(default=None, ge=timedelta(0), le=timedelta(seconds=_MOST_PROPAGATION))
    """How long to wait until DNS records are visible to the authority; the plugin's own time if not given."""
    acme_auth_hook: Path | None = None
    """Program that publishes a DNS record, for ``manual``: CERTBOT_DOMAIN and CERTBOT_VALIDATION say which."""
    acme_cleanup_hook: Path | None = None
    """Program that takes the record back."""
    dns_credentials_file: Path | None = None
    """The DNS plugin's own ini file; it must be ours, with mode 0600."""
    cloudflare_api_token: SecretStr | None = Field(default=None, validation_alias="CLOUDFLARE_API_TOKEN")
    """Token that may edit the zone; not used if there is a credentials file."""
    cloudflare_api_url: str | None = Field(default=None, pattern=r"^https?://[^\s]+$")
    """Another Cloudflare API than Cloudflare's."""
    certbot_binary: str | None = None
    """Certbot; otherwise that of the installation, or the one on the PATH."""
    certificate_check_interval: Seconds = Field(default=timedelta(hours=12), gt=timedelta(0))
    """How often certbot is asked whether the certificate is due, give or take a tenth."""

    @field_validator("acme_auth_hook", "acme_cleanup_hook", "dns_credentials_file", "acme_ca_file")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return path.absolute() if path else None

    @field_validator(
        "acme_email", "acme_ca_file", "acme_profile", "acme_propagation", "acme_auth_hook", "acme_cleanup_hook",
        "dns_credentials_file", "cloudflare_api_token", "cloudflare_api_url", "certbot_binary", mode="before",
    )  # fmt: skip
    @classmethod
    def _nothing(cls, value: object) -> object:
        # Compose and unit files hand on what is not set as an empty string.
        return None if value == "" else value

    @model_validator(mode="after")
    def _complete(self) -> Self:
        given = {
            Source.CLOUDFLARE: self.cloudflare_api_token or self.dns_credentials_file,
            Source.RFC2136: self.dns_credentials_file,
            Source.MANUAL: self.acme_auth_hook,
        }
        missing = {
            Source.CLOUDFLARE: "CLOUDFLARE_API_TOKEN or CLAWSTEAD_DNS_CREDENTIALS_FILE",
            Source.RFC2136: "CLAWSTEAD_DNS_CREDENTIALS_FILE",
            Source.MANUAL: "CLAWSTEAD_ACME_AUTH_HOOK",
        }
        if self.certificates in given and not given[self.certificates]:
            raise ValueError(f"CLAWSTEAD_CERTIFICATES={self.certificates} needs {missing[self.certificates]}")
        if self.certificates is not Source.LOCAL and self.acme_directory in _PUBLIC and not self._public_domain:
            raise ValueError(
                f"no public authority vouches for {self.domain}: set CLAWSTEAD_DOMAIN to a domain of yours, "
                "or CLAWSTEAD_CERTIFICATES=local, or CLAWSTEAD_ACME_DIRECTORY to the URL of your own authority"
            )
        return self

    @property
    def _public_domain(self) -> bool:
        _, dot, last = self.domain.rpartition(".")
        return bool(dot) and last not in _PRIVATE_NAMES and not last.isdecimal()

    def order(self, folder: Path) -> Order:
        """Return what is to be ordered; ``folder`` is where the token goes."""
        own = folder / "cloudflare.ini" if self.certificates is Source.CLOUDFLARE else None
        propagation = self.acme_propagation
        return Order(
            domain=self.domain,
            source=self.certificates,
            directory=self.acme_directory,
            email=self.acme_email,
            profile=self.acme_profile,
            propagation_seconds=round(propagation.total_seconds()) if propagation is not None else None,
            credentials=(self.dns_credentials_file or own) if self.certificates in _DNS_PLUGINS else None,
            auth_hook=self.acme_auth_hook,
            cleanup_hook=self.acme_cleanup_hook,
            ca_file=self.acme_ca_file,
            cloudflare_url=self.cloudflare_api_url,
        )

    @property
    def cloudflare_token(self) -> str | None:
        """The token to write to a credentials file of ours, None if that is not wanted."""
        if self.certificates is not Source.CLOUDFLARE or self.dns_credentials_file or not self.cloudflare_api_token:
            return None
        return self.cloudflare_api_token.get_secret_value()
