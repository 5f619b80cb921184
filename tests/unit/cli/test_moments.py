"""Moments of the log, as operators name them."""

from datetime import UTC, datetime, timedelta

import pytest

from clawstead_cli.errors import UsageError
from clawstead_cli.moments import Moment, clock, parse_moment, shown

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1042", 1042),
        ("0", 1),
        ("now", NOW),
        ("10m", NOW - timedelta(minutes=10)),
        ("2h30m ago", NOW - timedelta(hours=2.5)),
        ("2026-11-21", datetime(2026, 11, 21, tzinfo=UTC)),
        (" 2026-11-21T10:00 ", datetime(2026, 11, 21, 10, tzinfo=UTC)),
        ("2026-11-21 10:00:00.5Z", datetime(2026, 11, 21, 10, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-11-21T10:00+02:00", datetime(2026, 11, 21, 8, tzinfo=UTC)),
    ],
)
def test_a_moment_is_a_sequence_a_time_or_how_long_ago(text: str, moment: Moment) -> None:
    assert parse_moment(text, now=NOW) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "-5", "2026-13-01", "٤٢", "999999999999999999d"])
def test_anything_else_is_refused_with_what_to_write(text: str) -> None:
    with pytest.raises(UsageError, match="neither a time nor a sequence") as refused:
        parse_moment(text, now=NOW)
    assert "10m" in str(refused.value.hint)


def test_times_are_shown_in_utc_to_the_millisecond() -> None:
    time = datetime.fromisoformat("2026-11-21T10:00:00.123456+02:00")
    assert (shown(time), clock(time)) == ("2026-11-21 08:00:00.123Z", "08:00:00.123")
