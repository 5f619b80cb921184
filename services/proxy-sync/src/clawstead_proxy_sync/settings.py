"""Proxy-sync's settings, read once from the environment."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, IPvAnyAddress, field_validator
from pydantic_settings import NoDecode

from clawstead_proxy_sync.certificate_settings import CertificateSettings
from clawstead_shared.settings import Seconds, ServiceSettings

_HOST = r"^[A-Za-z0-9.:-]+$"


class Settings(ServiceSettings, CertificateSettings):
    """Everything that proxy-sync can be told."""

    proxy_sync_port: int = Field(default=8702, ge=1, le=65535)
    """Own HTTP port: health, metrics, and nginx's question about routes that its table lacks."""
    http_port: int = Field(default=8080, ge=1, le=65535)
    """Where plain HTTP is redirected to HTTPS."""
    edge_addresses: Annotated[tuple[IPvAnyAddress, ...], NoDecode] = ()
    """Addresses on which the edge listens, separated by commas; empty for all IPv4 and, if there is, IPv6."""
    api_host: str = Field(default="127.0.0.1", pattern=_HOST)
    api_port: int = Field(default=8700, ge=1, le=65535)
    terminal_host: str = Field(default="127.0.0.1", pattern=_HOST)
    terminal_ws_port: int = Field(default=8710, ge=1, le=65535)
    nginx_binary: str = "nginx"
    edge_mode: Literal["managed", "system"] = "managed"
    """``managed``: an nginx of our own; ``system``: the machine's, with the site of ``clawstead edge install``."""
    edge_status_port: int = Field(default=8706, ge=1, le=65535)
    """Loopback port on which the machine's nginx says what it serves."""
    edge_workers: int = Field(default_factory=lambda: min(os.cpu_count() or 1, 2), ge=1, le=64)
    keep_edge: bool = False
    """Leave nginx serving when this service is stopped; the next one takes it over."""
    edge_reload_interval: Seconds = Field(default=timedelta(seconds=1), gt=timedelta(0))
    """Least time between two reloads, unless a route must not wait."""
    edge_drain: Seconds = Field(default=timedelta(minutes=5), ge=timedelta(seconds=1))
    """How long a connection may go on with a worker that a reload replaced; then it is cut."""
    edge_check_interval: Seconds = Field(default=timedelta(seconds=10), gt=timedelta(0))
    """How often the files of the edge are compared with what they should be."""
    edge_resync_interval: Seconds = Field(default=timedelta(seconds=60), gt=timedelta(0))
    """How often the table is compared with the newest observations."""

    @field_validator("edge_addresses", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip(" []") for part in value.split(",") if part.strip())
        return value

    @property
    def system(self) -> bool:
        """Whether the edge is a site in the machine's nginx."""
        return self.edge_mode == "system"

    @property
    def directory(self) -> Path:
        """The folder that this service owns."""
        return (self.data_dir / "proxy-sync").resolve()
