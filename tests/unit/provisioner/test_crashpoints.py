"""The hook that lets tests end the process at a named place."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from clawstead_provisioner.crashpoints import Place, arm, crashpoint


class DiedError(Exception):
    """Stands for the end of the process."""


@pytest.fixture(autouse=True)
def mortal(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def die(code: int) -> None:
        raise DiedError(code)

    monkeypatch.setattr(os, "_exit", die)
    yield
    arm({})


def test_unset_nothing_happens_anywhere() -> None:
    arm({})
    for place in Place:
        crashpoint(place)


def test_only_the_named_places_are_deadly() -> None:
    arm({"CLAWSTEAD_CRASHPOINT": "lock_taken, phase_said"})
    crashpoint(Place.CONTAINER_MADE)
    with pytest.raises(DiedError, match="137"):
        crashpoint(Place.PHASE_SAID)


def test_a_place_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="no such place: nowhere; there are lock_taken"):
        arm({"CLAWSTEAD_CRASHPOINT": "lock_taken,nowhere"})


def test_it_dies_as_often_as_the_budget_says(tmp_path: Path) -> None:
    arm({"CLAWSTEAD_CRASHPOINT": "lock_taken,phase_said", "CLAWSTEAD_CRASHPOINT_BUDGET": str(tmp_path)})
    (tmp_path / "lock_taken").write_text("2")
    crashpoint(Place.PHASE_SAID)
    for _ in range(2):
        with pytest.raises(DiedError):
            crashpoint(Place.LOCK_TAKEN)
    crashpoint(Place.LOCK_TAKEN)


def test_threads_that_are_there_at_once_spend_one_death(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arm({"CLAWSTEAD_CRASHPOINT": "phase_said", "CLAWSTEAD_CRASHPOINT_BUDGET": str(tmp_path)})
    (tmp_path / "phase_said").write_text("2")
    dying, gone = threading.Event(), threading.Event()

    def die(code: int) -> None:
        dying.set()
        gone.wait(10)

    monkeypatch.setattr(os, "_exit", die)
    threads = [threading.Thread(target=crashpoint, args=(Place.PHASE_SAID,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert dying.wait(10)
    for thread in threads:
        thread.join(0.1)
    spent = (tmp_path / "phase_said").read_text()
    gone.set()
    for thread in threads:
        thread.join(10)
    assert spent == "1"
