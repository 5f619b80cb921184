"""The journal on disk: what is looked after, and what is left."""

import multiprocessing
import os
from datetime import UTC, datetime
from pathlib import Path

from clawstead_shared.events import SessionEnd
from clawstead_terminal.adapters.journal import Journal
from clawstead_terminal.records import SessionRecord

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def record(session_id: str = "s1") -> SessionRecord:
    return SessionRecord(
        session_id=session_id,
        instance_id="01arz3ndektsv4rrffq69g5fav",
        container_id="c1",
        owner_id="owner-1",
        remote="192.0.2.7",
        opened_at=NOW,
    )


def test_a_session_that_is_looked_after_is_not_left(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "made" / "here")
    entry = journal.open(record())
    assert list(journal.left()) == []
    entry.forget()
    assert list((tmp_path / "made" / "here").iterdir()) == []


def test_a_session_that_was_left_is_taken_over_once_with_its_end(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    entry = journal.open(record())
    ended = record().model_copy(update={"end": SessionEnd(ended_at=NOW, reason="client_left")})
    entry.update(ended)
    entry.leave()
    (taken,) = journal.left()
    assert taken.record == ended
    assert list(Journal(tmp_path).left()) == []
    taken.forget()
    assert list(journal.left()) == []


def _open_and_die(directory: Path) -> None:
    Journal(directory).open(record())
    os._exit(9)


def test_a_killed_process_leaves_its_sessions(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_open_and_die, args=(tmp_path,))
    process.start()
    process.join(30)
    (taken,) = Journal(tmp_path).left()
    assert taken.record == record()


def test_a_file_that_was_cut_short_is_removed_once_it_is_old(tmp_path: Path) -> None:
    path = tmp_path / "s2.json"
    path.write_text('{"session_id":')
    journal = Journal(tmp_path)
    assert list(journal.left()) == []
    assert path.exists()
    os.utime(path, (0, 0))
    assert list(journal.left()) == []
    assert not path.exists()
