"""The provisioner's settings."""

import hashlib
import os
import socket
from ipaddress import IPv4Network
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from clawstead_provisioner.spec import ADDRESSES_PER_INSTANCE
from clawstead_shared.settings import ServiceSettings


class ProvisionerSettings(ServiceSettings):
    """What the provisioner needs to know; all times in seconds."""

    provisioner_port: int = Field(default=8701, ge=1, le=65535)
    installation: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    """Name of this installation: only engine objects that carry it are ever touched."""
    instances_dir_on_host: Path | None = None
    """Where the engine finds ``<data_dir>/instances``, if the provisioner itself runs in a container."""

    image_profiles_file: Path | None = None
    """Profiles of images besides the packaged ones; ``image_profiles.toml`` says what is in such a file."""

    gateway_otlp_endpoint: str | None = Field(default=None, pattern=r"^https?://\S+$")
    """OTLP/HTTP collector, as instances reach it, for gateways whose image has the plugin diagnostics-otel."""

    gateway_host: str = "127.0.0.1"
    """Address on which gateways' ports are published and probed; loopback, so that only our edge reaches them."""
    first_gateway_port: int = Field(default=10000, ge=1024, le=65535)
    last_gateway_port: int = Field(default=20000, ge=1024, le=65535)
    network_pool: IPv4Network = IPv4Network("10.212.0.0/15")
    """Each instance gets a /29 of it, numbered like its port."""

    boots_at_once: int = Field(default=2 * (os.cpu_count() or 1), ge=1)
    """Gateways that may start at the same time; further ones wait in line."""
    host_name: str = Field(default_factory=socket.gethostname, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,253}$")
    """Under which this host tells what it can hold."""
    memory_overcommit: float = Field(default=1.5, gt=0)
    """The memory limits of running instances may add up to this many times the host's memory."""
    cpu_overcommit: float = Field(default=8, gt=0)
    """The CPU limits of running instances may add up to this many times the host's cores."""
    workspace_scan_interval_seconds: float = Field(default=300, gt=0)
    workspace_scan_entries: int = Field(default=200_000, ge=1)
    """Files and directories after which the scan of one workspace is cut off."""
    workspace_scan_seconds: float = Field(default=20, gt=0)
    """Time after which the scan of one workspace is cut off."""
    reconcile_interval_seconds: float = Field(default=60, gt=0)
    orphan_grace_seconds: float = Field(default=300, ge=0)
    """How long a container that nobody wants is only announced to be removed."""
    orphans_per_sweep: int = Field(default=10, ge=1)
    engine_timeout_seconds: float = Field(default=60, gt=0)
    pull_timeout_seconds: float = Field(default=900, gt=0)
    stop_grace_seconds: int = Field(default=345, ge=0)
    """OpenClaw drains running turns for up to 330 s before it ends."""
    unresponsive_stop_grace_seconds: int = Field(default=30, ge=0)
    """Grace of a gateway that does not answer its health check: it has nothing to drain."""
    delete_grace_seconds: int = Field(default=2, ge=0)
    provision_deadline_seconds: float = Field(default=1800, gt=0)
    """After which ``provisioning`` or ``updating`` counts as failed, pulls and other starts included."""
    stop_deadline_seconds: float = Field(default=420, gt=0)
    """After which ``stopping`` counts as failed; a minute more than the grace if that is longer."""
    delete_deadline_seconds: float = Field(default=180, gt=0)
    force_delete_seconds: float = Field(default=15, gt=0)
    """What each part of a forced delete may take before it counts as left over."""
    start_timeout_seconds: float = Field(default=300, gt=0)
    """Least time before a start counts as failed; five times the boot grace if that is longer."""

    probation_seconds: float = Field(default=15, ge=0)
    """How long a new image must serve before its update is confirmed; until then its end means going back."""

    @model_validator(mode="after")
    def _ports_have_subnets(self) -> Self:
        ports = self.last_gateway_port - self.first_gateway_port + 1
        if ports < 1:
            raise ValueError("last_gateway_port is below first_gateway_port")
        if self.network_pool.num_addresses < ports * ADDRESSES_PER_INSTANCE:
            raise ValueError(f"network_pool {self.network_pool} has no /29 for each of {ports} gateway ports")
        return self

    @property
    def own_dir(self) -> Path:
        """The provisioner's own state: sealing key and lock."""
        return self.data_dir / "provisioner"

    @property
    def instances_dir(self) -> Path:
        """The instances' directories, as this process sees them."""
        return self.data_dir / "instances"

    @property
    def instances_source(self) -> Path:
        """The instances' directories, as the engine sees them."""
        return self.instances_dir_on_host or self.instances_dir.resolve()

    @property
    def installation_id(self) -> str:
        """The installation's name; one derived from where its data lives unless set."""
        return self.installation or hashlib.sha256(str(self.data_dir.resolve()).encode()).hexdigest()[:12]
