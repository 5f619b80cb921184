"""Is each container as hard, as limited and as alone as it should be? One function per property. Pure."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import PurePath
from typing import Any

from clawstead_cli.doctor.facts import Engine, Facts, Finding, Severity, Site
from clawstead_shared.events import Desired
from clawstead_shared.ids import is_instance_id

LABEL_PREFIX = "ing.clawstead"
INSTANCE_LABEL = f"{LABEL_PREFIX}.instance"
INSTALLATION_LABEL = f"{LABEL_PREFIX}.installation"
LABELS = frozenset(
    f"{LABEL_PREFIX}.{name}"
    for name in ("instance", "installation", "generation", "spec-hash", "port", "image", "image-revision", "heap")
)
"""What the provisioner writes on every container."""

_REPLACE = "`docker rm -f` it: the provisioner makes it anew, and its data stays"
_NANO = 1_000_000_000
_MIB = 1024 * 1024


def object_name(instance_id: str) -> str:
    """Return the name of an instance's container and of its network."""
    return f"claw-{instance_id}"


@dataclass(frozen=True, slots=True)
class Seen:
    """One container of an instance, with what it should be."""

    document: Mapping[str, Any]
    instance_id: str
    site: Site
    cpus: float
    desired: Desired | None
    settled: bool
    """Nobody is at work on it: what is seen follows what is desired."""

    @property
    def host(self) -> Mapping[str, Any]:
        """How it runs on the host."""
        config: Mapping[str, Any] = self.document["HostConfig"]
        return config

    @property
    def name(self) -> str:
        """Its name."""
        return name_of(self.document)


def name_of(document: Mapping[str, Any]) -> str:
    """Return the name of an inspected container."""
    return str(document["Name"]).lstrip("/")


def instance_of(document: Mapping[str, Any]) -> str | None:
    """Return whose container this is, None when it cannot be one of ours."""
    instance_id = str((document["Config"].get("Labels") or {}).get(INSTANCE_LABEL, ""))
    return instance_id if is_instance_id(instance_id) and name_of(document) == object_name(instance_id) else None


def container_findings(facts: Facts) -> Iterator[Finding]:
    """Judge every container that carries our label."""
    engine, bus = facts.engine.value, facts.bus.value
    if engine is None:
        return
    for document in engine.containers:
        instance_id = instance_of(document)
        if instance_id is None:
            yield _stranger(document)
            yield from _ports(Seen(document, "", facts.site, engine.cpus, None, settled=False))
            continue
        desired = bus.desired.get(instance_id) if bus else None
        observed = bus.observed.get(instance_id) if bus else None
        settled = bool(desired and observed and observed.generation >= desired.generation and not observed.progress)
        yield from _judged(Seen(document, instance_id, facts.site, engine.cpus, desired, settled))


def running(engine: Engine) -> dict[str, bool]:
    """Return which instances have a container, and whether it runs."""
    found = {instance_of(document): document["State"]["Status"] == "running" for document in engine.containers}
    return {instance_id: runs for instance_id, runs in found.items() if instance_id is not None}


def _judged(seen: Seen) -> Iterator[Finding]:
    for check in _CHECKS:
        yield from check(seen)


def _stranger(document: Mapping[str, Any]) -> Finding:
    return Finding(
        "containers",
        Severity.WARNING,
        name_of(document),
        "it carries this installation's label, but is not named after an instance",
        "the provisioner leaves it alone, and nobody limits or updates it",
        f"`docker inspect {name_of(document)}`, and remove it if nobody needs it",
    )


def _bad(seen: Seen, check: str, severity: Severity, *, what: str, why: str, todo: str = _REPLACE) -> Finding:
    return Finding(check, severity, seen.name, what, why, todo)


def _labels(seen: Seen) -> Iterator[Finding]:
    if missing := sorted(LABELS - seen.document["Config"]["Labels"].keys()):
        why = "labels say what it was made from: without them it cannot be compared with what it should be"
        yield _bad(seen, "labels", Severity.WARNING, what=f"labels are missing: {', '.join(missing)}", why=why)


_escapes = partial(_bad, check="hardening", severity=Severity.CRITICAL, why="a gateway that is taken over could leave")
_weakens = partial(_bad, check="hardening", severity=Severity.WARNING, why="one wall less around a gateway")


def _hardening(seen: Seen) -> Iterator[Finding]:
    host = seen.host
    if host.get("Privileged"):
        yield _escapes(seen, what="it is privileged")
    if shared := [name for name in ("PidMode", "IpcMode", "UTSMode", "NetworkMode") if host.get(name) == "host"]:
        yield _escapes(seen, what=f"it shares the host's namespaces: {', '.join(shared)}")
    if host.get("Devices"):
        yield _escapes(seen, what="it has devices of the host")
    if "ALL" not in (host.get("CapDrop") or ()):
        yield _escapes(seen, what="it keeps the engine's default capabilities")
    if not any(option.startswith("no-new-privileges") for option in host.get("SecurityOpt") or ()):
        yield _escapes(seen, what="its processes may gain privileges (no-new-privileges is missing)")
    if added := host.get("CapAdd"):
        yield _weakens(seen, what=f"it has capabilities: {', '.join(added)}", todo=_OWN_IMAGE)
    if not host.get("ReadonlyRootfs"):
        yield _weakens(seen, what="its root file system can be written", todo=_OWN_IMAGE)
    if str(seen.document["Config"].get("User") or "0").partition(":")[0] in {"0", "root"}:
        yield _weakens(seen, what="it runs as root", todo=_OWN_IMAGE)


_OWN_IMAGE = f"some images need it (their profile says so); if this one does not: {_REPLACE}"


def _mounts(seen: Seen) -> Iterator[Finding]:
    own = seen.site.instances_source / seen.instance_id
    for mount in seen.document.get("Mounts") or ():
        if mount["Type"] == "tmpfs":
            continue
        source = str(mount.get("Source", ""))
        inside = mount["Type"] == "bind" and PurePath(source).is_relative_to(own) and ".." not in PurePath(source).parts
        if not inside:
            why = "what is mounted belongs to the gateway: it may read and change it"
            yield _bad(seen, "mounts", Severity.CRITICAL, what=f"{source} of the host is mounted", why=why)


def _limits(seen: Seen) -> Iterator[Finding]:
    if seen.desired is None or not seen.settled:
        return
    limits = seen.desired.spec.limits
    memory = limits.memory_bytes
    wanted = {
        "Memory": (memory, f"memory {memory // _MIB} MiB"),
        "MemorySwap": (memory, "no swap"),
        "PidsLimit": (limits.pids, f"{limits.pids} processes"),
        "NanoCpus": (round(min(limits.cpus, seen.cpus) * _NANO), f"{limits.cpus:g} CPUs"),
    }
    wrong = [
        f"{name} is {seen.host.get(name)} ({told})"
        for name, (value, told) in wanted.items()
        if seen.host.get(name) != value
    ]
    if wrong:
        yield _bad(
            seen,
            "limits",
            Severity.WARNING,
            what=f"not the limits of plan {seen.desired.spec.plan}: {'; '.join(wrong)}",
            why="it takes what others paid for, or dies of too little",
            todo=f"`clawstead restart {seen.instance_id}` gives it what it should have",
        )


def _restart_policy(seen: Seen) -> Iterator[Finding]:
    policy = (seen.host.get("RestartPolicy") or {}).get("Name")
    if policy != "unless-stopped":
        why = "after a crash or a reboot nobody starts it"
        yield _bad(seen, "restart policy", Severity.WARNING, what=f"its restart policy is {policy or 'no'}", why=why)


def _log_limits(seen: Seen) -> Iterator[Finding]:
    log = seen.host.get("LogConfig") or {}
    options = log.get("Config") or {}
    if log.get("Type") != "json-file" or not {"max-size", "max-file"} <= options.keys():
        yield _bad(seen, "log limits", Severity.WARNING, what="its log has no bound", why="it can fill the host's disk")


def _ports(seen: Seen) -> Iterator[Finding]:
    bindings = [each for ports in (seen.host.get("PortBindings") or {}).values() for each in ports or ()]
    open_ = [
        f"{each.get('HostIp') or '0.0.0.0'}:{each.get('HostPort')}"
        for each in bindings
        if not _hidden(each.get("HostIp") or "0.0.0.0", seen.site.gateway_host)
    ]
    if seen.host.get("PublishAllPorts"):
        open_.append("all ports of the image")
    if open_:
        why = "everybody reaches the gateway past the edge: no TLS, no route gate"
        yield _bad(seen, "ports", Severity.CRITICAL, what=f"published beyond loopback: {', '.join(open_)}", why=why)


def _hidden(address: str, gateway_host: str) -> bool:
    return address == gateway_host or ip_address(address).is_loopback


def _networks(seen: Seen) -> Iterator[Finding]:
    found = set((seen.document.get("NetworkSettings") or {}).get("Networks") or {})
    if found != {object_name(seen.instance_id)}:
        why = "on a network with others it can reach them, and they it"
        names = ", ".join(sorted(found)) or "none"
        yield _bad(
            seen, "networks", Severity.CRITICAL, what=f"its networks are not its own one alone: {names}", why=why
        )


_CHECKS: tuple[Callable[[Seen], Iterator[Finding]], ...] = (
    _labels,
    _hardening,
    _mounts,
    _limits,
    _restart_policy,
    _log_limits,
    _ports,
    _networks,
)
