"""Ids, subjects: the grammar that keeps a tenant's text out of places where characters are special."""

import pytest

from clawstead_shared.ids import is_instance_id, new_instance_id
from clawstead_shared.subjects import Topic, dead_letter_subject, parse_subject, subject_of

ID = "01m7zkvdjkh1jqvvsse0qgc6kk"  # one for all: a test's name must be the same in every process
HOSTILE = ["", "a", "*", ">", "a.b", "../etc", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "o" * 26, "é" * 26, "a" * 64]


def test_new_ids_are_valid_distinct_and_sorted() -> None:
    ids = [new_instance_id() for _ in range(100)]
    assert all(map(is_instance_id, ids))
    assert len(set(ids)) == len(ids)
    assert [text[:10] for text in ids] == sorted(text[:10] for text in ids)


@pytest.mark.parametrize("text", [*HOSTILE, f"{ID}\n", f" {ID}"])
def test_hostile_ids_never_become_subjects(text: str) -> None:
    assert not is_instance_id(text)
    with pytest.raises(ValueError, match="not an instance id"):
        subject_of(Topic.DESIRED, text)


@pytest.mark.parametrize("topic", list(Topic))
def test_a_subject_is_parsed_back(topic: Topic) -> None:
    instance_id = new_instance_id()
    assert parse_subject(subject_of(topic, instance_id)) == (topic, instance_id)


@pytest.mark.parametrize(
    "subject",
    [
        "clawstead.v1.desired",
        "clawstead.v1.desired.x",
        f"clawstead.v2.desired.{ID}",
        f"clawstead.v1.unknown.{ID}",
        f"x.clawstead.v1.desired.{ID}",
        f"clawstead.v1.desired.{ID}.more",
    ],
)
def test_foreign_subjects_are_refused(subject: str) -> None:
    with pytest.raises(ValueError, match=r"not a|is not a valid Topic"):
        parse_subject(subject)


def test_a_dead_letter_keeps_its_consumer_and_origin() -> None:
    origin = subject_of(Topic.DESIRED, new_instance_id())
    assert dead_letter_subject("provisioner", origin) == f"clawstead.dlq.provisioner.{origin}"
