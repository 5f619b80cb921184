"""From the desired state to the container that realizes it: pure, no engine (openclaw.md, section 2).

The container's hostname is always the instance id: under another one the gateway refuses its own lease for
five minutes after an unclean end.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from clawstead_provisioner.image_profiles import ImageProfile
from clawstead_shared.events import Desired

ADDRESSES_PER_INSTANCE = 8
"""A /29: network, host, gateway and room for an operator's guest."""

_MIB = 1024 * 1024
_HEAP_SHARE = 2
"""V8's old space may take the memory limit divided by this: the rest is for buffers and the CLI's processes."""

LABEL_PREFIX = "ing.clawstead"
INSTANCE_LABEL = f"{LABEL_PREFIX}.instance"
INSTALLATION_LABEL = f"{LABEL_PREFIX}.installation"
GENERATION_LABEL = f"{LABEL_PREFIX}.generation"
FINGERPRINT_LABEL = f"{LABEL_PREFIX}.spec-hash"
PORT_LABEL = f"{LABEL_PREFIX}.port"
IMAGE_LABEL = f"{LABEL_PREFIX}.image"
IMAGE_REVISION_LABEL = f"{LABEL_PREFIX}.image-revision"
HEAP_LABEL = f"{LABEL_PREFIX}.heap"


def object_name(instance_id: str) -> str:
    """Return the name of an instance's container and of its network."""
    return f"claw-{instance_id}"


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """The bridge that one instance has for itself, so that neighbours cannot reach it."""

    name: str
    subnet: str
    gateway: str
    """The host's address on the bridge: where the edge's requests seem to come from."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A host directory inside the container."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Resources:
    """What a container may use; can be changed while it runs."""

    nano_cpus: int
    memory_bytes: int
    pids: int


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One container, as data. Sizes in bytes, times in seconds."""

    instance_id: str
    name: str
    image: str
    hostname: str
    host: str
    port: int
    container_port: int
    """Where the gateway serves in the container; published as ``port`` of the host."""
    command: tuple[str, ...]
    """Empty: the image's own."""
    user: str
    read_only: bool
    capabilities: tuple[str, ...]
    tmpfs: tuple[tuple[str, str], ...]
    network: NetworkSpec
    resources: Resources
    heap_mib: int
    """What V8's old space may take: fixed at the start of the process."""
    env: tuple[str, ...]
    mounts: tuple[Mount, ...]
    labels: dict[str, str]
    stop_timeout_seconds: int
    secret_env: tuple[str, ...] = field(default=(), repr=False)
    """Environment that must not be shown; part of the container, of no hash, log or event."""

    @property
    def fingerprint(self) -> str:
        """What the container is made from, as one word: another one needs another container."""
        return self.labels[FINGERPRINT_LABEL]


@dataclass(frozen=True, slots=True)
class Site:
    """Where this installation puts its instances."""

    installation: str
    host: str
    network_pool: IPv4Network
    first_port: int
    instances_source: Path
    """The instances' directories, as the engine sees them."""
    stop_timeout_seconds: int
    otlp_endpoint: str | None = None
    """Where gateways that can send their own telemetry send it."""
    cpus: float = math.inf
    """Cores of the host: the engine refuses to promise more."""

    def network(self, instance_id: str, port: int) -> NetworkSpec:
        """Return the bridge of an instance: the pool's /29 that has the port's number.

        Raises:
            ValueError: the pool is too small for that port.
        """
        size = ADDRESSES_PER_INSTANCE
        offset = (port - self.first_port) * size
        if not 0 <= offset <= self.network_pool.num_addresses - size:
            raise ValueError(f"{self.network_pool} has no subnet for port {port}")
        subnet = IPv4Network((int(self.network_pool.network_address) + offset, 32 - (size - 1).bit_length()))
        return NetworkSpec(object_name(instance_id), str(subnet), str(subnet.network_address + 1))

    def labels(self, instance_id: str) -> dict[str, str]:
        """Return the labels that make an engine object ours."""
        return {INSTANCE_LABEL: instance_id, INSTALLATION_LABEL: self.installation}


def container_spec(
    desired: Desired,
    site: Site,
    port: int,
    profile: ImageProfile,
    *,
    secret_env: Mapping[str, str],
    config: Any,
    secrets_digest: str,
) -> ContainerSpec:
    """Return the container that realizes ``desired`` on ``port`` with an image of ``profile``.

    ``config`` and ``secrets_digest`` only count for the fingerprint: they stand for what the gateway reads
    once, when it starts. Resources do not count: they are changed while it runs (docs/adr/0012).
    """
    instance_id = desired.instance_id
    labels = {
        **site.labels(instance_id),
        GENERATION_LABEL: str(desired.generation),
        PORT_LABEL: str(port),
        IMAGE_LABEL: desired.spec.image,
        IMAGE_REVISION_LABEL: str(desired.spec.image_revision),
        HEAP_LABEL: str(heap_mib(desired)),
    }
    spec = ContainerSpec(
        instance_id=instance_id,
        name=object_name(instance_id),
        image=desired.spec.image,
        hostname=instance_id,
        host=site.host,
        port=port,
        container_port=profile.port,
        command=profile.command,
        user=profile.user,
        read_only=profile.read_only,
        capabilities=profile.capabilities,
        tmpfs=tuple(profile.tmpfs.items()),
        network=site.network(instance_id, port),
        resources=resources(desired, site),
        heap_mib=heap_mib(desired),
        env=_environment(profile),
        mounts=_mounts(profile, site.instances_source / instance_id),
        labels=labels,
        stop_timeout_seconds=site.stop_timeout_seconds,
        secret_env=tuple(f"{name}={value}" for name, value in secret_env.items()),
    )
    labels[FINGERPRINT_LABEL] = _fingerprint(spec, config, secrets_digest)
    return spec


def _environment(profile: ImageProfile) -> tuple[str, ...]:
    return (
        f"HOME={profile.home}",
        "TERM=xterm-256color",
        "NO_COLOR=1",
        *(f"{name}={value}" for name, value in profile.environment.items()),
    )


def _mounts(profile: ImageProfile, directory: Path) -> tuple[Mount, ...]:
    targets = profile.mounts
    wanted = (("config", targets.config), ("workspace", targets.workspace), ("auth", targets.auth))
    return tuple(Mount(str(directory / name), target) for name, target in wanted if target is not None)


def resources(desired: Desired, site: Site) -> Resources:
    """Return what the instance's container may use."""
    limits = desired.spec.limits
    return Resources(
        nano_cpus=round(min(limits.cpus, site.cpus) * 1_000_000_000),
        memory_bytes=limits.memory_bytes,
        pids=limits.pids,
    )


def heap_mib(desired: Desired) -> int:
    """Return what the old space of the gateway's V8 may take."""
    return desired.spec.limits.memory_bytes // _HEAP_SHARE // _MIB


def _fingerprint(spec: ContainerSpec, config: Any, secrets_digest: str) -> str:
    content = asdict(spec)
    # Another image is no matter of comparing: see versions.py.
    for changing in ("labels", "secret_env", "image", "resources", "heap_mib"):
        del content[changing]
    text = json.dumps([content, config, secrets_digest], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
