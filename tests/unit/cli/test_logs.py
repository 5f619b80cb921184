"""Log lines for human eyes, and files that are followed across rotations."""

import json
from pathlib import Path

import pytest

from clawstead_cli.log_files import Follower, last_lines
from clawstead_cli.log_lines import render

ENTRY = {
    "event": "instance ready",
    "time": "2026-01-02T03:04:05.678901Z",
    "level": "info",
    "service": "provisioner",
    "instance_id": "01abc",
    "reason": None,
    "trace_id": "f" * 32,
    "span_id": "f" * 16,
}


def test_a_json_line_shows_time_process_event_and_fields() -> None:
    shown = render("provisioner", json.dumps(ENTRY)).plain
    assert shown == "03:04:05.678 provisioner instance ready instance_id=01abc"


def test_a_level_above_info_is_shown() -> None:
    assert "warning  instance ready" in render("health", json.dumps({**ENTRY, "level": "warning"})).plain


def test_a_traceback_keeps_its_lines() -> None:
    shown = render("api", json.dumps({**ENTRY, "exception": "Traceback\n  line"})).plain
    assert shown.endswith("\nTraceback\n  line")


def test_a_line_of_nats_is_understood() -> None:
    shown = render("nats", "[12] 2026/01/02 03:04:05.678901 [WRN] Slow consumer").plain
    assert shown == "03:04:05.678 nats        warning  Slow consumer"


@pytest.mark.parametrize("line", ["plain words", "{not json", "[1, 2]", ""])
def test_what_is_not_ours_is_shown_as_it_is(line: str) -> None:
    assert render("api", line).plain.endswith(line)


def test_control_characters_never_reach_the_terminal() -> None:
    shown = render("api", json.dumps({"event": "a\x1b[2Jb\r", "field": "c\x07\nd"})).plain
    assert shown.endswith("a\\x1b[2Jb\\x0d field=c\\x07\\nd")
    assert "\x1b" not in render("api", "raw \x1b[2J").plain


@pytest.mark.parametrize(("count", "expected"), [(0, []), (2, ["b", "c"]), (9, ["a", "b", "c"])])
def test_the_last_lines_are_found(tmp_path: Path, count: int, expected: list[str]) -> None:
    path = tmp_path / "x.log"
    path.write_text("a\nb\nc\n")
    assert last_lines(path, count) == expected


def test_the_last_lines_of_a_long_file_are_found(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text("".join(f"line {number}\n" for number in range(50_000)))
    assert last_lines(path, 3) == ["line 49997", "line 49998", "line 49999"]


def test_no_file_has_no_lines(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "none.log", 5) == []


def test_following_yields_only_what_is_added_and_only_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text("before\n")
    follower = Follower(path)
    with path.open("a") as log:
        log.write("one\ntw")
        log.flush()
        assert list(follower.lines()) == ["one"]
        log.write("o\n")
    assert list(follower.lines()) == ["two"]
    follower.close()


def test_following_survives_rotation_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    follower = Follower(path)
    path.write_text("first\n")
    assert list(follower.lines()) == ["first"]
    with path.open("a") as log:
        log.write("late\n")
    path.rename(tmp_path / "x.log.1")
    path.write_text("fresh\n")
    assert list(follower.lines()) == ["late", "fresh"]
    follower.close()
