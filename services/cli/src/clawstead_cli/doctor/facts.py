"""What the drift audit looks at, and what it can find. Data only."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from clawstead_cli.adapters.edge import Served
from clawstead_cli.bus_state import BusState
from clawstead_cli.overview import Outbox, Part
from clawstead_shared.control import CertificateReport
from clawstead_shared.events import Desired, Observed
from clawstead_shared.topology import Drift


class Severity(StrEnum):
    """How bad a finding is. A ``note`` is worth reading, and no reason for a bad exit code."""

    CRITICAL = "critical"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    check: str
    severity: Severity
    about: str
    """A container, a file, a consumer."""
    what: str
    why: str
    """Why it matters."""
    todo: str


@dataclass(frozen=True, slots=True)
class Site:
    """What this installation's containers have in common."""

    installation: str
    instances_source: Path
    gateway_host: str


@dataclass(frozen=True, slots=True)
class Engine:
    """The Docker engine and the containers with our label, as it inspects them."""

    cpus: float
    root: str
    time: datetime
    containers: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Bus:
    """What the bus holds and how it is declared."""

    state: BusState
    drifts: list[Drift]
    desired: dict[str, Desired]
    observed: dict[str, Observed]
    desired_at: dict[str, datetime]
    """When each desired state was stored."""
    newest_at: datetime | None
    """When the newest event was stored."""


@dataclass(frozen=True, slots=True)
class FileFact:
    """One file or directory."""

    path: str
    """Relative to the data directory."""
    mode: int
    uid: int
    directory: bool = False


@dataclass(frozen=True, slots=True)
class Files:
    """What lies in the data directory."""

    owner: int
    """Who owns the data directory."""
    secrets: list[FileFact]
    instances: list[FileFact]
    """Directories of instances, those in them, and their secret files."""


@dataclass(frozen=True, slots=True)
class CertificateFile:
    """The certificate that the edge should serve."""

    expires_at: datetime
    serial: str
    """Upper-case hexadecimal without leading zeros."""


@dataclass(frozen=True, slots=True)
class Disk:
    """How much is left where something is stored, as shares of the whole."""

    about: str
    path: str
    free_bytes: int
    free_share: float
    free_inodes_share: float
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class SystemEdge:
    """What ``clawstead edge install`` left in this machine, where the edge is a site in its nginx."""

    site: bool
    """Whether there is a site file."""
    rule: str | None
    """The file of sudo's rule."""
    runner_uid: int
    """Who proxy-sync runs as; root needs no rule."""
    nginx_runs: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that was seen; a part that could not be read says why."""

    now: datetime
    site: Site
    engine: Part[Engine]
    bus: Part[Bus]
    files: Part[Files]
    certificate: Part[CertificateFile]
    """On disk, if it is of the installation's own authority."""
    served: Part[Served]
    report: Part[CertificateReport] = field(default_factory=Part)
    """What proxy-sync says of the certificate."""
    certbot_missing: bool = False
    """Where the certificate comes by it."""
    edge_waits: Part[dict[str, str]] = field(default_factory=lambda: Part({}))
    """What proxy-sync says is not as it should be, each with its reason."""
    system_edge: Part[SystemEdge] = field(default_factory=Part)
    disks: Part[list[Disk]] = field(default_factory=lambda: Part([]))
    outbox: Part[Outbox] = field(default_factory=lambda: Part(Outbox(0, None, 0)))
