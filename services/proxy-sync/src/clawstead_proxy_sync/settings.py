"""Proxy-sync's settings, read once from the environment."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, IPvAnyAddress, IPvAnyNetwork, field_validator
from pydantic_settings import NoDecode

from clawstead_proxy_sync.certificate_settings import CertificateSettings
from clawstead_proxy_sync.rates import Limit, Rate
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
    edge_control_port: int = Field(default=8707, ge=1, le=65535)
    """Loopback port on which the machine's nginx takes changes of routes from who has the key, if it is ``live``."""
    edge_routing: Literal["auto", "live", "map"] = "auto"
    """``live``: a changed route acts at once, through nginx's Lua module; ``map``: by a reload; ``auto``: as it can."""
    edge_workers: int = Field(default_factory=lambda: min(os.cpu_count() or 1, 2), ge=1, le=64)
    keep_edge: bool = False
    """Leave nginx serving when this service is stopped; the next one takes it over."""
    edge_reload_interval: Seconds = Field(default=timedelta(seconds=1), gt=timedelta(0))
    """Least time between two reloads, unless a route must not wait."""
    edge_drain: Seconds = Field(default=timedelta(days=1), ge=timedelta(seconds=1))
    """How long a connection may go on with a worker that a reload replaced; then it is cut."""
    edge_drain_workers: int = Field(default=40, ge=1, le=1000)
    """How many replaced workers may go on (some 5 MB each): of more, the oldest are ended earlier."""
    edge_check_interval: Seconds = Field(default=timedelta(seconds=10), gt=timedelta(0))
    """How often the files of the edge are compared with what they should be."""
    edge_resync_interval: Seconds = Field(default=timedelta(seconds=60), gt=timedelta(0))
    """How often the table is compared with the newest observations."""
    edge_trusted_proxies: Annotated[tuple[IPvAnyNetwork, ...], NoDecode] = ()
    """Addresses and networks of proxies in front of the edge, separated by commas: they say who the client is."""
    edge_client_header: str = Field(default="X-Forwarded-For", pattern=r"^[A-Za-z][A-Za-z0-9-]{0,63}$")
    """The header in which they say it."""
    edge_rate_create: Limit = Rate(240, "m", 240)
    """How often one address may create an instance."""
    edge_rate_login: Limit = Rate(120, "m", 120)
    """How often one address may ask for or use a ticket."""
    edge_rate_terminal: Limit = Rate(120, "m", 120)
    """How often one address may open a terminal."""
    dashboard_dir: Path | None = None
    """Folder of a built dashboard, to be served at the bare domain; a page of our own if unset."""

    @field_validator("edge_addresses", "edge_trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip(" []") for part in value.split(",") if part.strip())
        return value

    @field_validator("edge_trusted_proxies")
    @classmethod
    def _somebody(cls, networks: tuple[IPvAnyNetwork, ...]) -> tuple[IPvAnyNetwork, ...]:
        if any(network.prefixlen == 0 for network in networks):
            raise ValueError("must not be everybody: any visitor could then choose an address")
        return networks

    @field_validator("dashboard_dir", mode="before")
    @classmethod
    def _built(cls, value: object) -> object:
        if not value:
            return None
        path = Path(str(value)).resolve()
        if not (path / "index.html").is_file():
            raise ValueError(f"there is no index.html in {path}")
        return path

    @property
    def limits(self) -> tuple[tuple[str, Rate], ...]:
        """What is limited, by name."""
        rates = {"create": self.edge_rate_create, "login": self.edge_rate_login, "terminal": self.edge_rate_terminal}
        return tuple((name, rate) for name, rate in rates.items() if rate)

    @property
    def system(self) -> bool:
        """Whether the edge is a site in the machine's nginx."""
        return self.edge_mode == "system"

    @property
    def directory(self) -> Path:
        """The folder that this service owns."""
        return (self.data_dir / "proxy-sync").resolve()
