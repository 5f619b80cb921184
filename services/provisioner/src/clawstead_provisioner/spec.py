"""From the desired state to the container that realizes it: pure, no engine (openclaw.md, section 2).

The container's hostname is always the instance id: under another one the gateway refuses its own lease for
five minutes after an unclean end.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from clawstead_shared.events import Desired

GATEWAY_PORT = 18789
GATEWAY_COMMAND = (
    *("node", "dist/index.js", "gateway"),
    *("--bind", "lan", "--port", str(GATEWAY_PORT), "--allow-unconfigured"),
)
HOME = "/home/node"
INSTANCE_UID = 1000

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
class ContainerSpec:
    """One container, as data. Sizes in bytes, times in seconds."""

    instance_id: str
    name: str
    image: str
    hostname: str
    host: str
    port: int
    network: NetworkSpec
    nano_cpus: int
    memory_bytes: int
    pids: int
    env: tuple[str, ...]
    mounts: tuple[Mount, ...]
    labels: dict[str, str]
    stop_timeout_seconds: int
    secret_env: tuple[str, ...] = field(default=(), repr=False)
    """Environment that must not be shown; part of the container, of no hash, log or event."""
    command: tuple[str, ...] = GATEWAY_COMMAND
    user: str = f"{INSTANCE_UID}:{INSTANCE_UID}"
    tmpfs: tuple[tuple[str, str], ...] = (
        ("/tmp", "rw,nosuid,nodev,size=256m,mode=1777"),  # noqa: S108 - inside the container
        (HOME, f"rw,nosuid,nodev,size=64m,uid={INSTANCE_UID},gid={INSTANCE_UID},mode=0755"),
        # The mount below it would otherwise make the engine create a parent that the gateway cannot write.
        (f"{HOME}/.config", f"rw,nosuid,nodev,size=16m,uid={INSTANCE_UID},gid={INSTANCE_UID},mode=0700"),
    )

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
    desired: Desired, site: Site, port: int, *, gateway_token: str, config: Any, secrets_digest: str
) -> ContainerSpec:
    """Return the container that realizes ``desired`` on ``port``.

    ``config`` and ``secrets_digest`` only count for the fingerprint: the gateway reads its files once, when
    it starts, so a change of either needs a new start as much as a change of the container does.
    """
    instance_id, limits = desired.instance_id, desired.spec.limits
    labels = {
        **site.labels(instance_id),
        GENERATION_LABEL: str(desired.generation),
        PORT_LABEL: str(port),
    }
    spec = ContainerSpec(
        instance_id=instance_id,
        name=object_name(instance_id),
        image=desired.spec.image,
        hostname=instance_id,
        host=site.host,
        port=port,
        network=site.network(instance_id, port),
        nano_cpus=round(limits.cpus * 1_000_000_000),
        memory_bytes=limits.memory_bytes,
        pids=limits.pids,
        env=_environment(limits.memory_bytes),
        mounts=_mounts(site.instances_source / instance_id),
        labels=labels,
        stop_timeout_seconds=site.stop_timeout_seconds,
        secret_env=(f"OPENCLAW_GATEWAY_TOKEN={gateway_token}",),
    )
    labels[FINGERPRINT_LABEL] = _fingerprint(spec, config, secrets_digest)
    return spec


def _environment(memory_bytes: int) -> tuple[str, ...]:
    return (
        f"HOME={HOME}",
        "TERM=xterm-256color",
        "NO_COLOR=1",
        "OPENCLAW_DISABLE_BONJOUR=1",
        f"NODE_OPTIONS=--max-old-space-size={memory_bytes // _HEAP_SHARE // _MIB}",
    )


def _mounts(directory: Path) -> tuple[Mount, ...]:
    return (
        Mount(str(directory / "config"), f"{HOME}/.openclaw"),
        Mount(str(directory / "workspace"), f"{HOME}/.openclaw/workspace"),
        Mount(str(directory / "auth"), f"{HOME}/.config/openclaw"),
    )


def _fingerprint(spec: ContainerSpec, config: Any, secrets_digest: str) -> str:
    content = asdict(spec)
    for changing in ("labels", "secret_env"):
        del content[changing]
    text = json.dumps([content, config, secrets_digest], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
