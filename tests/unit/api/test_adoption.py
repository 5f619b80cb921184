"""Who is right about an instance, database or log, and which numbers events get."""

from datetime import UTC, datetime

import pytest

from clawstead_api.adoption import Logged, Verdict, decide, new_row, take_over
from clawstead_api.desires import desired_of
from clawstead_api.numbering import Numbered, continued
from clawstead_api.ports import LogIdentity
from clawstead_api.tables import Instance
from clawstead_shared.events import Desired, DesiredState, RestartRequest, SecretRef
from tests.support.factories import make_desired

NOW = datetime(2026, 11, 21, tzinfo=UTC)
DESIRED = make_desired(generation=3, secrets=None, restart=RestartRequest(count=2), actor="a", request_id="r")
WISH = DESIRED.model_copy(update={"secrets": SecretRef(key=DESIRED.instance_id, revision=4)})


def row(desired: Desired = WISH, **fields: object) -> Instance:
    instance = new_row(desired)
    take_over(instance, desired, NOW, default_image="default:1")
    for name, value in fields.items():
        setattr(instance, name, value)
    return instance


def test_a_row_taken_from_the_log_says_the_same() -> None:
    again = desired_of(row(), actor="a", request_id="r")
    assert again == WISH
    assert row().own_image == WISH.spec.image
    assert row().created_at < datetime.now(UTC)


@pytest.mark.parametrize(
    ("ours", "logged", "waiting", "verdict"),
    [
        (None, None, False, Verdict.NOTHING),
        (None, 3, False, Verdict.ADOPT),
        (3, 3, False, Verdict.NOTHING),
        (3, 3, True, Verdict.NOTHING),
        (2, 3, False, Verdict.ADOPT),
        (2, 3, True, Verdict.ADOPT),
        (4, 3, False, Verdict.REPUBLISH),
        (4, 3, True, Verdict.NOTHING),
        (3, None, False, Verdict.REPUBLISH),
        (3, None, True, Verdict.NOTHING),
    ],
)
def test_the_higher_generation_wins(ours: int | None, logged: int | None, waiting: bool, verdict: Verdict) -> None:
    known = Logged(WISH.model_copy(update={"generation": logged}), NOW) if logged else None
    assert decide(row(generation=ours) if ours else None, known, waiting=waiting) is verdict


def test_with_the_same_generation_the_log_wins() -> None:
    other = WISH.model_copy(update={"desired_state": DesiredState.STOPPED})
    assert decide(row(), Logged(other, NOW), waiting=True) is Verdict.ADOPT
    someone = WISH.model_copy(update={"actor": "system", "request_id": None})
    assert decide(row(), Logged(someone, NOW), waiting=False) is Verdict.NOTHING


def test_a_removed_instance_is_only_told_of_where_the_log_would_bring_it_back() -> None:
    removed = row(removed_at=NOW)
    assert decide(removed, None, waiting=False) is Verdict.NOTHING
    older = WISH.model_copy(update={"generation": 2})
    assert decide(removed, Logged(older, NOW), waiting=False) is Verdict.REPUBLISH


def test_numbers_rise_whatever_becomes_of_the_log() -> None:
    first, later = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
    known = continued(None, LogIdentity(first, 10), 10)
    assert known == Numbered(first.isoformat(), 0)
    assert continued(known, LogIdentity(first, 500), 400) == known
    lost = continued(known, LogIdentity(later, 0), 500)
    assert lost.offset == 500
    assert continued(lost, LogIdentity(later, 30), 520) == lost
    shorter = continued(lost, LogIdentity(later, 10), 520)
    assert shorter.offset + 11 > 520
