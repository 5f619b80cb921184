"""Docker's documents: the ones we send, built from a spec, and the ones we read. Pure."""

import re
from datetime import UTC, datetime
from typing import Any

from clawstead_provisioner.ports import Container, EngineEvent, Happening, Listed, Status
from clawstead_provisioner.spec import (
    FINGERPRINT_LABEL,
    HEAP_LABEL,
    IMAGE_LABEL,
    IMAGE_REVISION_LABEL,
    INSTANCE_LABEL,
    PORT_LABEL,
    ContainerSpec,
    Resources,
    object_name,
)
from clawstead_shared.ids import is_instance_id

_NEVER = "0001-01-01T00:00:00Z"
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")

_STATUS = {
    "created": Status.CREATED,
    "running": Status.RUNNING,
    "paused": Status.PAUSED,
    "restarting": Status.RESTARTING,
    "exited": Status.EXITED,
}


def container_document(spec: ContainerSpec) -> dict[str, Any]:
    """Return the body of ``POST /containers/create``."""
    return {
        "Image": spec.image,
        "Cmd": list(spec.command) or None,
        "Hostname": spec.hostname,
        "User": spec.user,
        "Env": [*spec.env, f"NODE_OPTIONS=--max-old-space-size={spec.heap_mib}", *spec.secret_env],
        "Labels": dict(spec.labels),
        "ExposedPorts": {_port_key(spec): {}},
        "StopTimeout": spec.stop_timeout_seconds,
        # The health service probes from outside; the image's own check would start a process for each probe.
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": _host_config(spec),
        "NetworkingConfig": {"EndpointsConfig": {spec.network.name: {}}},
    }


def _host_config(spec: ContainerSpec) -> dict[str, Any]:
    return {
        "NetworkMode": spec.network.name,
        "PortBindings": {_port_key(spec): [{"HostIp": spec.host, "HostPort": str(spec.port)}]},
        **cpus_and_pids(spec.resources),
        **memory(spec.resources),
        "CapDrop": ["ALL"],
        "CapAdd": list(spec.capabilities),
        "SecurityOpt": ["no-new-privileges"],
        "ReadonlyRootfs": spec.read_only,
        "Init": True,
        "Tmpfs": dict(spec.tmpfs),
        # Unlike binds, mounts fail when the source is missing, instead of making it as root.
        "Mounts": [{"Type": "bind", "Source": mount.source, "Target": mount.target} for mount in spec.mounts],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
        "RestartPolicy": {"Name": "unless-stopped"},
    }


def _port_key(spec: ContainerSpec) -> str:
    return f"{spec.container_port}/tcp"


def cpus_and_pids(resources: Resources) -> dict[str, int]:
    """Return limits as the engine's documents name them."""
    return {"NanoCpus": resources.nano_cpus, "PidsLimit": resources.pids}


def memory(resources: Resources) -> dict[str, int]:
    """Return the memory limit as the engine's documents name it: always both, so that there is never swap."""
    return {"Memory": resources.memory_bytes, "MemorySwap": resources.memory_bytes}


def network_labels(spec: ContainerSpec) -> dict[str, str]:
    """Return the labels of an instance's network: those of its container that name it ours."""
    of_container = {FINGERPRINT_LABEL, PORT_LABEL, HEAP_LABEL, IMAGE_LABEL, IMAGE_REVISION_LABEL}
    return {key: value for key, value in spec.labels.items() if key not in of_container}


def read_container(document: dict[str, Any]) -> Container:
    """Read an inspected container."""
    labels, state, host = document["Config"]["Labels"], document["State"], document["HostConfig"]
    return Container(
        id=document["Id"],
        instance_id=labels[INSTANCE_LABEL],
        status=_STATUS.get(state["Status"], Status.BROKEN),
        fingerprint=labels.get(FINGERPRINT_LABEL, ""),
        port=_number(labels, PORT_LABEL) or 0,
        resources=Resources(host["NanoCpus"], host["Memory"], host["PidsLimit"] or 0),
        labels=labels,
        heap_mib=_number(labels, HEAP_LABEL),
        image_digest=document["Image"],
        started_at=read_time(state["StartedAt"]),
        finished_at=read_time(state["FinishedAt"]),
        exit_code=state["ExitCode"],
        oom_killed=state["OOMKilled"],
        image_reference=labels.get(IMAGE_LABEL, ""),
        image_revision=int(labels.get(IMAGE_REVISION_LABEL, 0)),
    )


def is_ours(document: dict[str, Any]) -> bool:
    """Say whether a listed container or network is what its label says: named after its instance."""
    instance_id = document["Labels"].get(INSTANCE_LABEL, "")
    return is_instance_id(instance_id) and names_of(document) == [object_name(instance_id)]


def names_of(document: dict[str, Any]) -> list[str]:
    """Return the names of a listed container or network."""
    # A container's begin with a slash; those of links have a second one.
    names = document.get("Names") or ["/" + document.get("Name", "")]
    return [name[1:] for name in names if name.count("/") == 1]


def read_listed(document: dict[str, Any]) -> Listed:
    """Read a container of a list."""
    labels = document["Labels"]
    return Listed(
        instance_id=labels[INSTANCE_LABEL],
        port=_number(labels, PORT_LABEL),
        container_id=document["Id"],
        status=_STATUS.get(document["State"], Status.BROKEN),
        created_at=datetime.fromtimestamp(document["Created"], UTC),
    )


def read_listed_network(document: dict[str, Any]) -> Listed:
    """Read a network of a list, whose instance may have nothing else."""
    return Listed(document["Labels"][INSTANCE_LABEL], created_at=read_time(document["Created"]))


def _number(labels: dict[str, str], name: str) -> int | None:
    # Anybody may have written the label; a container without a usable one is made again.
    text = labels.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() else None


def read_event(document: dict[str, Any]) -> EngineEvent | None:
    """Read a line of ``GET /events``; None for what does not concern us."""
    attributes = document.get("Actor", {}).get("Attributes", {})
    try:
        happening = Happening(document.get("Action", ""))
        instance_id = attributes[INSTANCE_LABEL]
    except (ValueError, KeyError):
        return None
    if not is_instance_id(instance_id):
        return None
    return EngineEvent(
        instance_id=instance_id,
        happening=happening,
        at=datetime.fromtimestamp(document["timeNano"] / 1e9, UTC),
        exit_code=int(attributes["exitCode"]) if "exitCode" in attributes else None,
    )


def read_time(text: str) -> datetime | None:
    """Read one of Docker's times, which have nanoseconds; None for "never"."""
    found = _TIME.fullmatch(text)
    if found is None or text == _NEVER:
        return None
    fraction = (found[2] or "")[:6].ljust(6, "0")
    return datetime.fromisoformat(f"{found[1]}.{fraction}{found[3].replace('Z', '+00:00')}").astimezone(UTC)
