"""When an instance counts as stalled."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clawstead_api.stall import stall_of
from clawstead_api.tables import Instance, Status
from clawstead_shared.events import Phase, Progress
from clawstead_shared.ids import new_instance_id
from tests.support.factories import make_observed, make_spec

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def instance(*, asked: float, generation: int = 1) -> Instance:
    """Return an instance whose last change was asked for so many seconds ago."""
    instance_id = new_instance_id()
    then = NOW - timedelta(seconds=asked)
    made = Instance(
        id=instance_id,
        owner_id="me",
        name="claw",
        plan="pro",
        subdomain=instance_id,
        desired_state="running",
        generation=generation,
        spec={},
        cpus=0.5,
        memory_bytes=256 * 1024**2,
        secret_revision=1,
        created_at=then,
        updated_at=then,
    )
    made.specify(make_spec(instance_id))
    return made


def status(*, seen: float, **fields: Any) -> Status:
    """Return what was observed so many seconds ago, and said again just now."""
    observed = make_observed(**fields)
    return Status(
        instance_id=observed.instance_id,
        phase=observed.phase,
        observed=observed.model_dump(mode="json"),
        observed_at=NOW - timedelta(seconds=seen),
        updated_at=NOW,
    )


@pytest.mark.parametrize(("asked", "stalled"), [(5, False), (59, False), (61, True)])
def test_a_new_instance_that_nobody_takes_up_is_stalled(asked: float, stalled: bool) -> None:
    hint = stall_of(instance(asked=asked), None, NOW)
    assert bool(hint) is stalled
    assert hint is None or "provisioner" in hint


def test_a_change_that_nobody_takes_up_is_stalled_also_when_it_runs() -> None:
    seen = status(seen=3600, phase=Phase.RUNNING, generation=1)
    assert stall_of(instance(asked=90, generation=2), seen, NOW)
    assert stall_of(instance(asked=30, generation=2), seen, NOW) is None
    busy = status(seen=30, phase=Phase.PROVISIONING, generation=1)
    assert stall_of(instance(asked=90, generation=2), busy, NOW) is None, "it is still at the change before"


@pytest.mark.parametrize(
    ("phase", "within", "beyond"),
    [
        (Phase.PROVISIONING, 590, 610),
        (Phase.STARTING, 230, 250),
        (Phase.UPDATING, 590, 610),
        (Phase.STOPPING, 470, 490),
        (Phase.DELETING, 230, 250),
    ],
)
def test_a_phase_on_the_way_has_a_deadline(phase: Phase, within: float, beyond: float) -> None:
    assert stall_of(instance(asked=9999), status(seen=within, phase=phase), NOW) is None
    hint = stall_of(instance(asked=9999), status(seen=beyond, phase=phase), NOW)
    assert hint is not None
    assert phase in hint
    assert "force=true" in hint


def test_an_update_that_is_being_fetched_has_a_deadline_too() -> None:
    pulling = {"phase": Phase.RUNNING, "progress": Progress(step="pulling", percent=3)}
    assert stall_of(instance(asked=9999), status(seen=300, **pulling), NOW) is None
    assert stall_of(instance(asked=9999), status(seen=3600, **pulling), NOW)


@pytest.mark.parametrize("phase", [Phase.RUNNING, Phase.STOPPED, Phase.FAILED])
def test_what_has_arrived_is_never_stalled(phase: Phase) -> None:
    assert stall_of(instance(asked=10**6), status(seen=10**6, phase=phase), NOW) is None
