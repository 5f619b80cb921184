"""Following an instance's log shows every line once."""

from datetime import UTC, datetime

from clawstead_cli.instance_logs import Newer, render
from clawstead_shared.control import LogLine


def line(second: int, text: str = "tick") -> LogLine:
    return LogLine(time=datetime(2026, 1, 1, 3, 4, second, 5000, tzinfo=UTC), text=text)


def test_each_line_is_shown_once_also_when_old_ones_leave_the_window() -> None:
    newer = Newer()
    assert list(newer.of([line(1), line(2)])) == [line(1), line(2)]
    assert list(newer.of([line(2), line(3), line(4)])) == [line(3), line(4)]
    assert list(newer.of([line(3), line(4)])) == []
    assert list(newer.of([])) == []
    assert list(newer.of([line(4), line(5)])) == [line(5)]


def test_a_log_with_nothing_in_common_is_shown_whole() -> None:
    newer = Newer()
    newer.skip([line(1)])
    assert list(newer.of([line(8), line(9)])) == [line(8), line(9)]


def test_control_characters_of_a_gateway_do_not_reach_the_terminal() -> None:
    shown = render(line(1, "\x1b[31mred\x1b[0m\x07 [bold]not markup[/]")).plain
    assert shown == "03:04:01.005 red [bold]not markup[/]"
