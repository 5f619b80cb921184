"""The operator's settings: the variables the services read too, so that ``clawstead`` can start and find them."""

import hashlib
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, field_validator

from clawstead_cli.errors import UsageError
from clawstead_shared.settings import EdgeSettings

_PLAIN_PATH = re.compile(r"[\w./@+=:, -]+")
_SOCKET_PATH_BYTES = 90
"""Unix socket paths end at 107 bytes, and supervisord appends its process id while it binds."""
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


@dataclass(frozen=True, slots=True)
class BusAddress:
    """Where NATS is, and who we are there."""

    url: str
    seed_file: Path | None = None
    """None for a server that lets in anybody, or knows us by the URL."""


class Settings(EdgeSettings):
    """What ``clawstead`` itself reads from the environment, prefix ``CLAWSTEAD_``."""

    data_dir: Path = Path("data")
    """Root of all state; made absolute, so that every process means the same folder."""
    bin_dir: Path = Path(sys.executable).parent
    """Where the services' programs and nats-server are installed."""
    bind_host: str = "127.0.0.1"
    image: str = "openclaw:local"
    nats_url: str = ""
    """Empty for the embedded server on ``nats_port``."""
    nats_seed_file: Path | None = None
    """Who this command is on the bus; unset for the operator's own seed in the data directory, if there is one."""
    edge_addresses: str = ""
    """Where the edge listens, separated by commas; empty for everywhere."""
    edge_mode: Literal["managed", "system"] = "managed"
    """Whether the edge is an nginx of its own, or a site in the machine's."""

    installation: str | None = None
    """The provisioner's name of this installation; one derived from ``data_dir`` unless set."""
    instances_dir_on_host: Path | None = None
    """Where the engine finds the instances' directories, if the provisioner itself runs in a container."""
    gateway_host: str = "127.0.0.1"
    """Where the provisioner publishes gateways' ports."""

    certificates: Literal["local", "cloudflare", "rfc2136", "manual"] = "local"
    """Who signs the edge's certificate: the installation's own authority, or a public one, and how it is convinced."""
    acme_directory: str = "production"
    acme_ca_file: Path | None = None
    """Certificate of a private authority that signs the edge's certificate."""
    acme_auth_hook: Path | None = None
    dns_credentials_file: Path | None = None
    certbot_binary: str = ""
    """Empty for the one that ``scripts/setup.sh --certbot`` installs, else the one on PATH."""

    http_port: int = Field(default=8080, ge=1, le=65535)
    nats_port: int = Field(default=4222, ge=1, le=65535)
    api_port: int = Field(default=8700, ge=1, le=65535)
    provisioner_port: int = Field(default=8701, ge=1, le=65535)
    proxy_sync_port: int = Field(default=8702, ge=1, le=65535)
    health_port: int = Field(default=8703, ge=1, le=65535)
    terminal_port: int = Field(default=8704, ge=1, le=65535)
    keeper_port: int = Field(default=8705, ge=1, le=65535)
    terminal_ws_port: int = Field(default=8710, ge=1, le=65535)

    @field_validator("data_dir", mode="after")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        absolute = path.expanduser().resolve()
        # The path goes into the configuration of nats-server, supervisord and nginx, each with quoting of its own.
        if not _PLAIN_PATH.fullmatch(str(absolute)):
            raise ValueError("may hold only letters, digits, spaces and . _ - / @ + = : ,")
        if len(str(absolute / "run" / "supervisor.sock").encode()) > _SOCKET_PATH_BYTES:
            raise ValueError("is too long for the control socket in it; choose a shorter path")
        return absolute

    @classmethod
    def load(cls, data_dir: Path | None = None) -> Self:
        """Read the environment; ``data_dir`` wins over it.

        Raises:
            UsageError: a variable has a value that cannot work.
        """
        given: dict[str, Any] = {} if data_dir is None else {"data_dir": data_dir}
        try:
            return cls(**given)
        except ValidationError as invalid:
            problems = [
                f"CLAWSTEAD_{str(error['loc'][0]).upper()}: {error['msg']}"
                for error in invalid.errors(include_input=False, include_url=False)
            ]
            raise UsageError("; ".join(problems), hint="correct or unset the variable") from invalid

    @property
    def bus_url(self) -> str:
        """Where NATS is."""
        return self.nats_url or f"nats://127.0.0.1:{self.nats_port}"

    @property
    def bus(self) -> BusAddress:
        """Where NATS is, and who the operator is there."""
        return BusAddress(self.bus_url, self.nats_seed_file or self.seed_of("operator"))

    def seed_of(self, user: str) -> Path | None:
        """Return the file with the seed of a user of the bus; None without one, or if the URL says who we are."""
        path = self.seeds_dir / f"{user}.nk"
        return path if urlsplit(self.bus_url).username is None and os.access(path, os.R_OK) else None

    @property
    def embedded_nats(self) -> bool:
        """Whether this installation runs its own nats-server."""
        parts = urlsplit(self.bus_url)
        return parts.hostname in _LOOPBACK and (parts.port or 4222) == self.nats_port

    @property
    def edge_hosts(self) -> list[str]:
        """The addresses on which the edge will listen."""
        return [part.strip(" []") for part in self.edge_addresses.split(",") if part.strip()] or ["0.0.0.0"]

    @property
    def probe_host(self) -> str:
        """Where the services' own HTTP ports are reached from this machine."""
        return "127.0.0.1" if self.bind_host in {"0.0.0.0", "::"} else self.bind_host

    @property
    def run_dir(self) -> Path:
        """What lives only while the platform runs: control socket, locks, generated configuration."""
        return self.data_dir / "run"

    @property
    def log_dir(self) -> Path:
        """One rotated log file per process."""
        return self.data_dir / "logs"

    @property
    def nats_dir(self) -> Path:
        """The embedded server's configuration and store."""
        return self.data_dir / "nats"

    @property
    def seeds_dir(self) -> Path:
        """One file per user of the bus."""
        return self.nats_dir / "seeds"

    @property
    def installation_id(self) -> str:
        """What containers of this installation are labelled with."""
        return self.installation or hashlib.sha256(str(self.data_dir).encode()).hexdigest()[:12]

    @property
    def instances_source(self) -> Path:
        """The instances' directories, as the engine sees them."""
        return self.instances_dir_on_host or self.data_dir / "instances"

    @property
    def certbot(self) -> str | None:
        """The certbot that proxy-sync would run; None if there is none."""
        installed = self.bin_dir.parent.parent / ".tools" / "certbot" / "bin" / "certbot"
        return shutil.which(self.certbot_binary or (installed if installed.is_file() else "certbot"))

    @property
    def ca_file(self) -> Path:
        """Certificate of the local authority that signs the edge's certificate."""
        return self.data_dir / "proxy-sync" / "tls" / "ca.pem"
