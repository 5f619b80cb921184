"""Docker's documents, as an engine sends them."""

from datetime import UTC, datetime
from typing import Any

import pytest

from clawstead_provisioner.adapters.docker_objects import read_container, read_event, read_time
from clawstead_provisioner.ports import EngineEvent, Happening, Status
from clawstead_provisioner.spec import Resources

INSTANCE = "01jc00000000000000000000aa"
LABELS = {
    "ing.clawstead.instance": INSTANCE,
    "ing.clawstead.installation": "test",
    "ing.clawstead.spec-hash": "f",
    "ing.clawstead.port": "10021",
}


def document(**state: Any) -> dict[str, Any]:
    defaults = {
        "Status": "running",
        "ExitCode": 0,
        "OOMKilled": False,
        "StartedAt": "2026-11-21T12:17:31.788115123Z",
        "FinishedAt": "0001-01-01T00:00:00Z",
    }
    return {
        "Id": "c1",
        "Image": "sha256:1",
        "Config": {"Labels": LABELS},
        "HostConfig": {"NanoCpus": 500_000_000, "Memory": 1024, "PidsLimit": None},
        "State": {**defaults, **state},
    }


def test_a_container_is_read() -> None:
    container = read_container(document())
    assert (container.id, container.instance_id, container.port) == ("c1", INSTANCE, 10021)
    assert container.status is Status.RUNNING
    assert container.started_at == datetime(2026, 11, 21, 12, 17, 31, 788115, UTC)
    assert container.finished_at is None
    assert container.resources == Resources(500_000_000, 1024, 0)


@pytest.mark.parametrize("status", ["dead", "removing", "of the future"])
def test_a_state_that_only_removal_ends_is_broken(status: str) -> None:
    assert read_container(document(Status=status)).status is Status.BROKEN


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-21T12:17:31Z", datetime(2026, 11, 21, 12, 17, 31, tzinfo=UTC)),
        ("2026-11-21T12:17:31.5Z", datetime(2026, 11, 21, 12, 17, 31, 500000, UTC)),
        ("2026-11-21T13:17:31.123456789+01:00", datetime(2026, 11, 21, 12, 17, 31, 123456, UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
    ],
)
def test_times_are_read_to_the_microsecond(text: str, moment: datetime | None) -> None:
    assert read_time(text) == moment


def test_an_end_is_read_with_its_code() -> None:
    event = {
        "Action": "die",
        "timeNano": 1_763_726_400_500_000_000,
        "Actor": {"Attributes": {**LABELS, "exitCode": "78"}},
    }
    assert read_event(event) == EngineEvent(
        INSTANCE, Happening.DIED, datetime.fromtimestamp(1_763_726_400.5, UTC), exit_code=78
    )


@pytest.mark.parametrize("event", [{}, {"Action": "exec_start", "Actor": {"Attributes": LABELS}}, {"Action": "die"}])
def test_what_does_not_concern_us_is_ignored(event: dict[str, Any]) -> None:
    assert read_event(event) is None
