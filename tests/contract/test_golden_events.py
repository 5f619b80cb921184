"""Events that were once written stay readable for ever: one golden file per event type, never edited.

A new type gets a new file. A file that has to change is a breaking change, which v1 does not allow.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from clawstead_shared.events import Event, EventType, Observed, Payload, Reason, decode, encode
from clawstead_shared.events.envelope import PAYLOADS
from clawstead_shared.streams import WRITERS
from scripts.generate_docs import topic_of

GOLDEN = Path(__file__).parent / "golden"
FILES = sorted(GOLDEN.glob("*.json"))

golden = pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def read(content: dict[str, Any]) -> Event[Payload]:
    return decode(content["subject"], content["headers"], json.dumps(content["body"]).encode(), sequence=1)


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every JSON object in ``value``, itself included."""
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from objects(item)
    elif isinstance(value, list):
        for item in value:
            yield from objects(item)


def known_part(now: Any, then: Any) -> Any:
    """Return ``now`` without the fields, at any depth, that ``then`` did not have yet."""
    if isinstance(now, dict) and isinstance(then, dict):
        return {name: known_part(now[name], then[name]) for name in then}
    return now


def records(value: Any) -> Iterator[BaseModel]:
    """Yield every model in ``value``, itself included."""
    if isinstance(value, BaseModel):
        yield value
        for name in type(value).model_fields:
            yield from records(getattr(value, name))


def test_every_event_type_has_a_golden_file() -> None:
    assert {load(path)["headers"]["ce-type"] for path in FILES} == {event_type.value for event_type in EventType}


@golden
def test_it_is_read_to_the_same_facts(path: Path) -> None:
    content = load(path)
    event = read(content)
    headers = content["headers"]
    assert event.id == headers["ce-id"] == headers["Nats-Msg-Id"]
    assert event.type == headers["ce-type"]
    assert event.time.isoformat() == headers["ce-time"]
    assert event.subject == content["subject"]
    assert event.traceparent == headers["traceparent"]
    assert path.stem == f"{event.topic}-{event.type.rpartition('.')[2]}"
    now = json.loads(event.data.model_dump_json())
    assert known_part(now, content["body"]) == content["body"], "a field is lost or read differently"


@golden
def test_what_would_be_written_today_holds_the_same_facts(path: Path) -> None:
    content = load(path)
    headers, body = encode(read(content))
    written = {name: value for name, value in content["headers"].items() if name != "traceparent"}
    assert headers == written
    assert decode(content["subject"], headers, body).data == read(content).data


@golden
def test_fields_of_a_later_version_are_ignored_at_every_depth(path: Path) -> None:
    content, plain = load(path), read(load(path))
    for item in list(objects(content["body"])):
        item["added_later"] = {"any": ["thing"]}
    assert read(content).data == plain.data


def test_a_reason_of_a_later_version_is_read_as_unknown() -> None:
    content = load(GOLDEN / "observed-failed.json")
    content["body"]["reason"] = "added_later"
    data = read(content).data
    assert isinstance(data, Observed)
    assert data.reason is Reason.UNKNOWN


@golden
def test_writers_cannot_add_unknown_fields_at_any_depth(path: Path) -> None:
    for record in records(read(load(path)).data):
        with pytest.raises(ValidationError, match="typo"):
            type(record)(**{**dict(record), "typo": 1})


@golden
def test_a_payload_cannot_be_changed_after_it_is_made(path: Path) -> None:
    for record in records(read(load(path)).data):
        name = next(iter(type(record).model_fields))
        with pytest.raises(ValidationError, match="frozen"):
            setattr(record, name, None)


@golden
def test_it_comes_from_the_one_writer_of_its_topic(path: Path) -> None:
    event = read(load(path))
    assert event.source == WRITERS[event.topic]
    assert event.topic is topic_of(event.type)


def test_the_golden_files_together_fill_every_field() -> None:
    filled: dict[type[BaseModel], set[str]] = {}
    for path in FILES:
        for record in records(read(load(path)).data):
            names = {name for name in type(record).model_fields if getattr(record, name) is not None}
            filled.setdefault(type(record), set()).update(names)
    assert set(PAYLOADS.values()) <= filled.keys()
    never = {
        f"{model.__name__}.{name}" for model, names in filled.items() for name in model.model_fields.keys() - names
    }
    assert not never
