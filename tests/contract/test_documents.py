"""Generated documents are those that today's code would generate, and payloads only grow."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from clawstead_shared.control import Verb
from clawstead_shared.events.envelope import EventType
from clawstead_shared.subjects import Topic
from scripts.generate_docs import ROOT_DIR, SCHEMAS, asyncapi, documents, payload_schemas, topic_of
from scripts.schema_growth import breaking_changes

DOCUMENTS = documents()


@pytest.mark.parametrize("path", DOCUMENTS, ids=[path.name for path in DOCUMENTS])
def test_a_generated_document_is_fresh(path: Path) -> None:
    assert path.is_file(), f"{path.relative_to(ROOT_DIR)} is missing: run `make docs`"
    assert path.read_text() == DOCUMENTS[path], f"{path.relative_to(ROOT_DIR)} is stale: run `make docs`"


@pytest.mark.parametrize("topic", payload_schemas())
def test_a_payload_only_gained_optional_fields(topic: str) -> None:
    committed = json.loads((SCHEMAS / f"{topic}.json").read_text())
    assert breaking_changes(committed, payload_schemas()[topic]) == []


def observed() -> dict[str, Any]:
    return copy.deepcopy(payload_schemas()["observed"])


def test_a_new_optional_field_is_growth() -> None:
    new = observed()
    new["properties"]["added"] = {"type": "string", "default": ""}
    new["$defs"]["ExitCause"]["properties"]["added"] = {"type": "string", "default": ""}
    assert breaking_changes(observed(), new) == []


def test_what_is_not_growth_is_named() -> None:
    new = observed()
    del new["properties"]["message"]
    new["properties"]["subdomain"]["type"] = "integer"
    new["required"].append("port")
    new["$defs"]["Phase"]["enum"].remove("updating")
    del new["$defs"]["ExitCause"]["properties"]["oom_killed"]
    found = " ".join(breaking_changes(observed(), new))
    for expected in ("message is gone", "subdomain: type", "port became required", "phase: enum", "oom_killed is gone"):
        assert expected in found


def test_asyncapi_references_lead_somewhere() -> None:
    document = asyncapi()

    def check(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                found: Any = document
                for part in value["$ref"].removeprefix("#/").split("/"):
                    found = found[part]
            for item in value.values():
                check(item)
        elif isinstance(value, list):
            for item in value:
                check(item)

    check(document)
    assert set(document["channels"]) == {*Topic, "notice", *(f"control-{verb}" for verb in Verb)}


def test_every_event_type_belongs_to_a_topic() -> None:
    for event_type in EventType:
        assert topic_of(event_type)


def test_every_decision_is_in_the_index() -> None:
    pages = ROOT_DIR / "docs" / "adr"
    index = (pages / "README.md").read_text()
    assert [page.name for page in pages.glob("0*.md") if f"({page.name})" not in index] == []
