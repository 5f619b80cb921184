"""Durations for people."""

from datetime import timedelta

import pytest

from clawstead_cli.durations import duration, parse_duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0, "0 ms"),
        (0.0123, "12 ms"),
        (1, "1 s"),
        (2.44, "2.4 s"),
        (59.7, "1 min"),
        (200, "3 min 20 s"),
        (7200, "2 h"),
        (93_784, "1 d 2 h"),
    ],
)
def test_a_duration_has_at_most_two_units(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"), [("10m", 600), ("2h30m", 9000), ("1.5 h", 5400), ("90s", 90), ("250ms", 0.25), ("3 min", 180)]
)
def test_people_write_durations_as_they_like(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "10", "m", "ten minutes", "10m ago", "-5m", "1y"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)
