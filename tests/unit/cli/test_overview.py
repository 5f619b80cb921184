"""The overview shows what could be read, and says why the rest could not."""

from datetime import UTC, datetime

import pytest
from rich.console import Console

from clawstead_cli.bus_state import BusState, ConsumerState, StreamState
from clawstead_cli.errors import UnreachableError
from clawstead_cli.overview import Fleet, Outbox, Overview, Part, SiteCertificate
from clawstead_cli.overview_tables import overview_page
from clawstead_cli.platform import ServiceStatus, Status
from clawstead_shared.notices import Notice, NoticeKind

PROCESSES = Status(True, "https://claw.example", [ServiceStatus("api", "running", 7, 65, True)])
NOTICE = Notice(
    kind=NoticeKind.BUS_REPAIRED,
    about="api",
    message="consumer api was \x1b[31mgone",
    at=datetime(2026, 1, 2, tzinfo=UTC),
)
BUS = BusState(
    [StreamState("CLAWSTEAD", declared=True), StreamState("CLAWSTEAD_DLQ", declared=False)],
    [ConsumerState("api", True, 3, 1, 0, 61.0, 2), ConsumerState("health", declared=False)],
    [NOTICE],
)
WHOLE = Overview(
    PROCESSES,
    Part(Fleet({"failed": 1, "running": 2}, 1, 1)),
    Part(BUS),
    Part(Outbox(4, 12.0, 1)),
    Part(SiteCertificate(88.6, served=False)),
)


def shown(overview: Overview) -> str:
    console = Console(width=160, record=True, file=None, quiet=False, force_terminal=False)
    with console.capture() as captured:
        console.print(overview_page(overview))
    return captured.get()


def test_everything_that_was_read_is_shown() -> None:
    text = shown(WHOLE)
    for expected in (
        "0:01:05",
        "1 failed",
        "2 running",
        "1 unhealthy",
        "1 stalled",
        "4 waiting, the oldest for 12 s",
        "1 quarantined",
        "88 days left, not what visitors get",
        "1 min 1 s",
        "not declared: CLAWSTEAD_DLQ",
        "bus_repaired",
    ):
        assert expected in text
    assert "\x1b[31m" not in text


@pytest.mark.parametrize("part", ["fleet", "bus", "outbox", "certificate"])
def test_a_part_that_is_away_says_why_and_the_rest_is_shown(part: str) -> None:
    def away() -> None:
        raise UnreachableError("it does not answer", hint="start it")

    parts = {
        "fleet": WHOLE.fleet,
        "bus": WHOLE.bus,
        "outbox": WHOLE.outbox,
        "certificate": WHOLE.certificate,
        part: Part.of(away),
    }
    text = shown(Overview(PROCESSES, **parts))  # type: ignore[arg-type]  # one of them is empty
    assert "could not be read: it does not answer; start it" in text
    assert "0:01:05" in text
    assert text.count("could not be read") == 1
