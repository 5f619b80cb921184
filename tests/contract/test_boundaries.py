"""Who may import whom, and who writes what."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from clawstead_shared.events.envelope import PAYLOADS
from clawstead_shared.streams import CONSUMERS, WRITERS
from clawstead_shared.subjects import Topic
from tests.contract.source_tree import ROOT, SERVICES, imports, package_of, parsed

MAX_SHARED_LINES = 2750
WRITER_OF = {payload.__name__: WRITERS[topic] for topic, payload in PAYLOADS.items()}


def test_the_import_contracts_are_kept() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([linter, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("service", SERVICES)
def test_adapters_do_not_know_the_rules_that_use_them(service: str) -> None:
    package = package_of(service)
    rules = tuple(f"{package.name}.{part}" for part in ("handlers", "subscribers", "routes", "app"))
    offending = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sorted((package / "adapters").rglob("*.py"))
        for line, name in imports(path)
        if name.startswith(rules)
    ]
    assert not offending


@pytest.mark.parametrize(
    ("library", "allowed"),
    [
        ("docker", {"adapters"}),
        ("faststream", set()),
    ],
)
@pytest.mark.parametrize("service", [service for service in SERVICES if service != "cli"])
def test_external_systems_are_met_only_in_adapters(service: str, library: str, allowed: set[str]) -> None:
    package = package_of(service)
    offending = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in sorted(package.rglob("*.py"))
        if path.relative_to(package).parts[0] not in allowed
        for line, name in imports(path)
        if name.split(".")[0] == library
    ]
    assert not offending


def test_every_topic_has_one_writer_and_every_reader_a_topic() -> None:
    assert set(WRITERS) == set(Topic)
    assert sorted(WRITERS.values()) == sorted(set(WRITERS.values())), "each service writes one topic"
    assert set(WRITERS.values()) <= set(SERVICES)
    for consumer in CONSUMERS:
        assert consumer.durable in SERVICES
        assert consumer.topics
        assert set(consumer.topics) <= set(WRITERS)


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_builds_only_the_payload_that_it_writes(service: str) -> None:
    offending = []
    for path in sorted(package_of(service).rglob("*.py")):
        ours = {name.rpartition(".")[2] for _, name in imports(path) if name.startswith("clawstead_shared.events.")}
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                built = node.func.id
                if built in ours and WRITER_OF.get(built, service) != service:
                    offending.append(f"{path.relative_to(ROOT)}:{node.lineno} builds {built}")
    assert not offending


def test_services_never_declare_streams() -> None:
    declaring = {"add_stream", "update_stream", "create_key_value", "add_consumer", "delete_stream"}
    offending = [
        f"{path.relative_to(ROOT)}:{node.lineno} calls {node.attr}"
        for service in SERVICES
        for path in sorted(package_of(service).rglob("*.py"))
        if path.name != "topology.py"
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Attribute) and node.attr in declaring
    ]
    assert not offending


def test_what_is_shared_stays_small() -> None:
    lines = [line for path in (ROOT / "shared" / "src").rglob("*.py") for line in path.read_text().splitlines()]
    assert len(list(filter(str.strip, lines))) < MAX_SHARED_LINES
