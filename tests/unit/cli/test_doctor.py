"""The drift audit: a healthy installation has no findings, and each thing that is broken has one."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from clawstead_cli.adapters.edge import Served
from clawstead_cli.bus_state import BusState, ConsumerState, StreamState
from clawstead_cli.doctor.container_checks import LABELS
from clawstead_cli.doctor.facts import (
    Bus,
    CertificateFile,
    Disk,
    Engine,
    Facts,
    FileFact,
    Files,
    Severity,
    Site,
    SystemEdge,
)
from clawstead_cli.doctor.judge import PARTS, judge
from clawstead_cli.overview import Outbox, Part
from clawstead_shared.events import Desired, DesiredState, Observed, Phase
from clawstead_shared.notices import Notice, NoticeKind
from clawstead_shared.topology import Drift
from tests.support.factories import make_desired, make_observed

NOW = datetime(2026, 6, 1, tzinfo=UTC)
INSTANCES = Path("/data/instances")
DESIRED = make_desired("01kb3v6s8nq3k3h2t3m4n5p6q7", generation=2)
ID = DESIRED.instance_id
OTHER = "01kb3v6s8nq3k3h2t3m4n5p6q8"
NAME = f"claw-{ID}"
LIMITS = DESIRED.spec.limits


def container() -> dict[str, Any]:
    """Return what the engine says of a container as the provisioner makes it."""
    return {
        "Name": f"/{NAME}",
        "Config": {"User": "1000:1000", "Labels": {**dict.fromkeys(LABELS, "x"), "ing.clawstead.instance": ID}},
        "State": {"Status": "running"},
        "HostConfig": {
            "Privileged": False,
            "PidMode": "",
            "NetworkMode": NAME,
            "Devices": None,
            "CapDrop": ["ALL"],
            "CapAdd": [],
            "SecurityOpt": ["no-new-privileges"],
            "ReadonlyRootfs": True,
            "Memory": LIMITS.memory_bytes,
            "MemorySwap": LIMITS.memory_bytes,
            "PidsLimit": LIMITS.pids,
            "NanoCpus": round(LIMITS.cpus * 1e9),
            "RestartPolicy": {"Name": "unless-stopped"},
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
            "PortBindings": {"18789/tcp": [{"HostIp": "127.0.0.1", "HostPort": "10000"}]},
        },
        "Mounts": [{"Type": "bind", "Source": f"{INSTANCES}/{ID}/config"}, {"Type": "tmpfs", "Source": ""}],
        "NetworkSettings": {"Networks": {NAME: {}}},
    }


def bus(**changes: Any) -> Bus:
    state = BusState([StreamState("CLAWSTEAD", True, 1, 10, 100)], [ConsumerState("api", declared=True)], [])
    whole = Bus(
        state=state,
        drifts=[],
        desired={ID: DESIRED},
        observed={ID: make_observed(ID, generation=2, phase=Phase.RUNNING)},
        desired_at={ID: NOW - timedelta(hours=1)},
        newest_at=NOW,
    )
    return replace(whole, **changes)


FILES = Files(
    owner=0,
    secrets=[FileFact("api/vault.key", 0o600, 0)],
    instances=[
        FileFact(f"instances/{ID}", 0o700, 0, directory=True),
        FileFact(f"instances/{ID}/config", 0o700, 1000, directory=True),
        FileFact(f"instances/{ID}/config/.env", 0o600, 1000),
    ],
)
ROOMY = Disk("the data", "/data", 10**12, 0.5, 0.5)
HEALTHY = Facts(
    now=NOW,
    site=Site("here", INSTANCES, "127.0.0.1"),
    engine=Part(Engine(4.0, "/var/lib/docker", NOW, [container()])),
    bus=Part(bus()),
    files=Part(FILES),
    certificate=Part(CertificateFile(NOW + timedelta(days=90), "AB12")),
    served=Part(Served(NOW + timedelta(days=90), "AB12")),
    disks=Part([ROOMY]),
    outbox=Part(Outbox(0, 0.0, 0)),
)


def found(facts: Facts) -> list[str]:
    findings = judge(facts)
    assert all(finding.what and finding.why and finding.todo for finding in findings)
    return [finding.check for finding in findings]


def with_container(change: Callable[[dict[str, Any]], object]) -> Facts:
    document = deepcopy(container())
    change(document)
    engine = HEALTHY.engine.value
    assert engine
    return replace(HEALTHY, engine=Part(replace(engine, containers=[document])))


def with_bus(**changes: Any) -> Facts:
    return replace(HEALTHY, bus=Part(bus(**changes)))


def with_state(**changes: Any) -> Facts:
    return with_bus(state=replace(bus().state, **changes))


def test_a_healthy_installation_has_no_findings() -> None:
    assert found(HEALTHY) == []


@pytest.mark.parametrize(
    ("setting", "value", "check"),
    [
        ("Privileged", True, "hardening"),
        ("PidMode", "host", "hardening"),
        ("Devices", [{"PathOnHost": "/dev/kvm"}], "hardening"),
        ("CapDrop", None, "hardening"),
        ("CapAdd", ["NET_ADMIN"], "hardening"),
        ("SecurityOpt", None, "hardening"),
        ("ReadonlyRootfs", False, "hardening"),
        ("Memory", 1, "limits"),
        ("MemorySwap", -1, "limits"),
        ("PidsLimit", None, "limits"),
        ("NanoCpus", 0, "limits"),
        ("RestartPolicy", {"Name": "no"}, "restart policy"),
        ("LogConfig", {"Type": "json-file", "Config": {}}, "log limits"),
        ("LogConfig", {"Type": "none", "Config": {}}, "log limits"),
        ("PortBindings", {"1/tcp": [{"HostIp": "0.0.0.0", "HostPort": "1"}]}, "ports"),
        ("PortBindings", {"1/tcp": [{"HostIp": "", "HostPort": "1"}]}, "ports"),
        ("PortBindings", {"1/tcp": [{"HostIp": "::", "HostPort": "1"}]}, "ports"),
        ("PublishAllPorts", True, "ports"),
    ],
)
def test_each_setting_of_a_container_is_looked_at(setting: str, value: object, check: str) -> None:
    assert found(with_container(lambda document: document["HostConfig"].update({setting: value}))) == [check]


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (lambda document: document["Config"].update(User=""), "hardening"),
        (lambda document: document["Config"].update(User="root"), "hardening"),
        (lambda document: document["Config"]["Labels"].pop("ing.clawstead.spec-hash"), "labels"),
        (lambda document: document["NetworkSettings"]["Networks"].update(bridge={}), "networks"),
        (lambda document: document["Mounts"].append({"Type": "bind", "Source": "/var/run/docker.sock"}), "mounts"),
        (lambda document: document["Mounts"].append({"Type": "bind", "Source": f"{INSTANCES}/{ID}/../x"}), "mounts"),
        (lambda document: document["Mounts"].append({"Type": "bind", "Source": f"{INSTANCES}/{OTHER}"}), "mounts"),
        (lambda document: document["Mounts"].append({"Type": "volume", "Source": "/var/lib/docker/v"}), "mounts"),
        (lambda document: document["State"].update(Status="exited"), "fleet"),
    ],
)
def test_each_part_of_a_container_is_looked_at(change: Callable[[dict[str, Any]], object], check: str) -> None:
    facts = with_container(change)
    if check == "hardening":
        facts = replace(facts, files=Part(replace(FILES, instances=[])))  # whose owner follows the container's user
    assert found(facts) == [check]


def test_limits_are_not_judged_while_somebody_is_at_work() -> None:
    facts = with_container(lambda document: document["HostConfig"].update(Memory=1))
    assert found(facts) == ["limits"]
    behind = {ID: make_observed(ID, generation=1, phase=Phase.RUNNING)}
    at_work = bus(observed=behind, desired_at={ID: NOW})
    assert found(replace(facts, bus=Part(at_work))) == []


def test_cpus_are_bounded_by_what_the_host_has() -> None:
    engine = HEALTHY.engine.value
    assert engine
    document = container()
    document["HostConfig"]["NanoCpus"] = round(LIMITS.cpus * 1e9 / 2)
    small = replace(engine, cpus=LIMITS.cpus / 2, containers=[document])
    assert found(replace(HEALTHY, engine=Part(small))) == []


@pytest.mark.parametrize("name", ["/extra", f"/claw-{OTHER}", "/claw-x"])
def test_a_labelled_container_that_is_of_no_instance_is_found(name: str) -> None:
    stranger = container() | {"Name": name}
    engine = HEALTHY.engine.value
    assert engine
    facts = replace(HEALTHY, engine=Part(replace(engine, containers=[container(), stranger])))
    assert found(facts) == ["containers"]


def desired(state: DesiredState) -> dict[str, Desired]:
    return {ID: DESIRED.model_copy(update={"desired_state": state})}


def observed(phase: Phase) -> dict[str, Observed]:
    return {ID: make_observed(ID, generation=2, phase=phase)}


def test_containers_and_desired_states_must_agree() -> None:
    engine = HEALTHY.engine.value
    assert engine
    empty = Part(replace(engine, containers=[]))
    assert found(replace(HEALTHY, engine=empty)) == ["fleet"]
    assert found(replace(with_bus(desired={}, observed={}), files=Part(Files(0, [], [])))) == ["fleet"]
    assert found(with_bus(desired=desired(DesiredState.STOPPED), observed=observed(Phase.STOPPED))) == ["fleet"]
    assert found(with_bus(observed={})) == ["fleet"]
    assert found(with_bus(observed={}, desired_at={ID: NOW - timedelta(minutes=4)})) == []
    stopped = with_bus(desired=desired(DesiredState.STOPPED), observed=observed(Phase.STOPPED))
    assert found(replace(stopped, engine=empty)) == []
    failed = with_bus(observed=observed(Phase.FAILED))
    assert found(replace(failed, engine=empty)) == []


def test_what_is_deleted_must_be_gone() -> None:
    facts = with_bus(desired=desired(DesiredState.DELETED), observed=observed(Phase.REMOVED))
    assert sorted(found(facts)) == ["fleet", "instance files"]
    going = with_bus(desired=desired(DesiredState.DELETED), observed=observed(Phase.DELETING))
    assert found(going) == []


@pytest.mark.parametrize(
    ("fact", "check"),
    [
        (FileFact("nats/seeds/api.nk", 0o644, 0), "secret files"),
        (FileFact("nats/seeds/api.nk", 0o640, 0), "secret files"),
        (FileFact("api/vault.key", 0o600, 1234), "secret files"),
    ],
)
def test_secret_files_are_their_owners_alone(fact: FileFact, check: str) -> None:
    assert found(replace(HEALTHY, files=Part(replace(FILES, secrets=[fact])))) == [check]


@pytest.mark.parametrize(
    ("fact", "check"),
    [
        (FileFact(f"instances/{ID}", 0o755, 0, directory=True), "instance files"),
        (FileFact(f"instances/{ID}", 0o700, 1000, directory=True), "instance files"),
        (FileFact(f"instances/{ID}/config", 0o750, 1000, directory=True), "instance files"),
        (FileFact(f"instances/{ID}/config", 0o700, 0, directory=True), "instance files"),
        (FileFact(f"instances/{ID}/config/.env", 0o644, 1000), "secret files"),
        (FileFact(f"instances/{OTHER}", 0o700, 0, directory=True), "instance files"),
    ],
)
def test_instance_directories_belong_to_the_right_user_and_are_closed(fact: FileFact, check: str) -> None:
    assert found(replace(HEALTHY, files=Part(replace(FILES, instances=[fact])))) == [check]


@pytest.mark.parametrize(
    ("changes", "check", "severity"),
    [
        ({"certificate": Part(CertificateFile(NOW + timedelta(days=20), "AB12"))}, "certificate", Severity.WARNING),
        ({"certificate": Part(CertificateFile(NOW + timedelta(days=3), "AB12"))}, "certificate", Severity.CRITICAL),
        ({"served": Part(Served(NOW, "FF"))}, "certificate", Severity.WARNING),
        ({"served": Part(Served(error="self-signed"))}, "certificate", Severity.CRITICAL),
        ({"disks": Part([replace(ROOMY, free_share=0.09)])}, "disk", Severity.WARNING),
        ({"disks": Part([replace(ROOMY, free_bytes=10**8)])}, "disk", Severity.CRITICAL),
        ({"disks": Part([replace(ROOMY, free_inodes_share=0.01)])}, "disk", Severity.CRITICAL),
        ({"now": NOW + timedelta(seconds=6)}, "clock", Severity.WARNING),
        ({"outbox": Part(Outbox(3, 61.0, 0))}, "outbox", Severity.WARNING),
        ({"outbox": Part(Outbox(0, None, 1))}, "outbox", Severity.WARNING),
    ],
)
def test_the_host_and_the_outbox_are_looked_at(changes: dict[str, Any], check: str, severity: Severity) -> None:
    findings = judge(replace(HEALTHY, **changes))
    assert [(finding.check, finding.severity) for finding in findings] == [(check, severity)]


NOTICE = Notice(kind=NoticeKind.BUS_REPAIRED, about="consumer api", message="it was missing", at=NOW)


@pytest.mark.parametrize(
    ("facts", "check", "severity"),
    [
        (with_bus(drifts=[Drift("consumer", "api", missing=True)]), "bus", Severity.CRITICAL),
        (with_bus(drifts=[Drift("stream", "X", False, ("max_age: 1 -> 0",))]), "bus", Severity.CRITICAL),
        (with_bus(newest_at=NOW + timedelta(minutes=1)), "clock", Severity.WARNING),
        (with_state(consumers=[ConsumerState("api", True, 5, 0, 0, 61.0)]), "lag", Severity.WARNING),
        (with_state(consumers=[ConsumerState("api", True, 5, 0, 0, 601.0)]), "lag", Severity.CRITICAL),
        (with_state(consumers=[ConsumerState("api", declared=True, dead_letters=1)]), "dead letters", Severity.WARNING),
        (with_state(streams=[StreamState("CLAWSTEAD", True, 1, 81, 100)]), "bus", Severity.WARNING),
        (with_state(notices=[NOTICE, NOTICE]), "notices", Severity.NOTE),
    ],
)
def test_the_bus_is_looked_at(facts: Facts, check: str, severity: Severity) -> None:
    assert [(finding.check, finding.severity) for finding in judge(facts)] == [(check, severity)]


@pytest.mark.parametrize("part", PARTS)
def test_a_part_that_is_away_is_a_finding_and_the_rest_is_judged(part: str) -> None:
    facts = replace(HEALTHY, **{part: Part(unread="it does not answer")})  # type: ignore[arg-type]  # one of them
    assert found(facts) == ["could not look"]


SYSTEM_EDGE = SystemEdge(
    site=True, rule="claw ALL=(root) NOPASSWD: /usr/sbin/nginx -s reload", runner_uid=7, nginx_runs=True
)


@pytest.mark.parametrize(
    ("change", "checks"),
    [
        ({}, []),
        ({"rule": None, "runner_uid": 0}, []),
        ({"rule": None}, ["sudo rule"]),
        ({"rule": "claw ALL=(root) NOPASSWD: /usr/sbin/nginx"}, ["sudo rule"]),
        ({"rule": "claw ALL=(root) NOPASSWD: /usr/sbin/nginx *"}, ["sudo rule"]),
        ({"rule": "claw ALL=(ALL) NOPASSWD: ALL"}, ["sudo rule"]),
        ({"rule": f"{SYSTEM_EDGE.rule}\nclaw ALL=(root) NOPASSWD: /bin/sh"}, ["sudo rule"]),
        ({"site": False, "nginx_runs": False}, ["edge site", "edge site"]),
    ],
)
def test_the_edge_in_the_machines_nginx_is_judged(change: dict[str, Any], checks: list[str]) -> None:
    assert found(replace(HEALTHY, system_edge=Part(replace(SYSTEM_EDGE, **change)))) == checks


def test_what_proxy_sync_says_of_the_edge_is_told_and_the_bus_is_not_told_twice() -> None:
    waits = {"edge": "the site file is stale", "table": "no room", "bus": "away", "boot": "not yet"}
    assert found(replace(HEALTHY, edge_waits=Part(waits))) == ["edge", "edge"]


def test_a_disk_that_can_only_be_read_is_critical() -> None:
    assert found(replace(HEALTHY, disks=Part([replace(ROOMY, read_only=True)]))) == ["disk"]
