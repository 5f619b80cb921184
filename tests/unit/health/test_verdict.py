"""The judgement of one instance, as a table with a clock that only the test moves."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawstead_health.verdict import (
    FAILURES_TO_UNHEALTHY,
    ProbeResult,
    Standing,
    after_observation,
    after_probe,
    after_restart,
)
from clawstead_shared.events import Health, Observed, Phase, Reason, Verdict
from tests.support.factories import make_observed

T0 = datetime(2026, 1, 1, tzinfo=UTC)
GRACE = 60.0
OK = ProbeResult(response_ms=1.0)
BAD = ProbeResult(error="connection refused")
STARTING, HEALTHY, UNHEALTHY, STOPPED = Verdict.STARTING, Verdict.HEALTHY, Verdict.UNHEALTHY, Verdict.STOPPED


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def started(seconds: float = 0, **overrides: object) -> Observed:
    return make_observed(
        "01arz3ndektsv4rrffq69g5fav",
        **{"container_id": "c1", "started_at": at(seconds), "boot_grace_seconds": GRACE, **overrides},
    )


def judged(*probes: tuple[float, str]) -> Standing:
    """Run probes, given as (seconds after start, "+" or "-"), on a fresh start."""
    standing = after_observation(None, started(), T0)
    for seconds, outcome in probes:
        standing = after_probe(standing, OK if outcome == "+" else BAD, at(seconds))
    return standing


def series(outcomes: str, *, first: float, every: float = 15) -> list[tuple[float, str]]:
    return [(first + index * every, outcome) for index, outcome in enumerate(outcomes)]


@pytest.mark.parametrize(
    ("probes", "verdict", "why"),
    [
        ([], STARTING, "nothing is known yet"),
        (series("+", first=1), HEALTHY, "one success is enough right after the start"),
        (series("--+", first=1), HEALTHY, "early failures do not count against it"),
        (series("----", first=1), STARTING, "never unhealthy within the grace"),
        (series("-----", first=1), UNHEALTHY, "the grace ends at 60 s, the fifth failure is at 61 s"),
        (series("+--", first=70), HEALTHY, "two failures are not three"),
        (series("+---", first=70), UNHEALTHY, "three are"),
        (series("+--+--+--", first=70), HEALTHY, "a success forgives the failures before it"),
        (series("+---+", first=70), UNHEALTHY, "one success does not end an outage"),
        (series("+---++", first=70), HEALTHY, "two do"),
        (series("+---+-+", first=70), UNHEALTHY, "but only in a row"),
        (series("+---++---", first=70), UNHEALTHY, "and it can fall ill again"),
        (series("+---", first=1, every=10), STARTING, "a start that stops answering within its grace starts again"),
        (series("+---+", first=1, every=10), HEALTHY, "and is healthy with one success, as after a start"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) and " " in value else "",
)
def test_probes_lead_to_a_verdict(probes: list[tuple[float, str]], verdict: Verdict, why: str) -> None:
    assert judged(*probes).verdict is verdict, why


def test_since_is_when_the_verdict_changed_and_counts_are_kept() -> None:
    standing = judged(*series("+-----", first=70))
    assert (standing.since, standing.failures, standing.error) == (at(115), 5, "connection refused")
    assert standing.container_id == "c1"
    recovered = after_probe(after_probe(standing, OK, at(200)), OK, at(215))
    assert (recovered.since, recovered.failures, recovered.response_ms) == (at(215), 0, 1.0)


def test_the_grace_boundary_belongs_to_judgement() -> None:
    assert judged(*series("---", first=30)).verdict is UNHEALTHY, "third failure exactly at 60 s"
    assert judged(*series("---", first=29.9)).verdict is STARTING


@pytest.mark.parametrize(
    ("phase", "verdict"),
    [
        (Phase.PROVISIONING, STARTING),
        (Phase.UPDATING, STARTING),
        (Phase.STOPPING, STOPPED),
        (Phase.STOPPED, STOPPED),
        (Phase.DELETING, STOPPED),
        (Phase.REMOVED, STOPPED),
        (Phase.FAILED, UNHEALTHY),
    ],
)
def test_a_phase_that_is_not_probed_decides_alone(phase: Phase, verdict: Verdict) -> None:
    healthy = judged((1, "+"))
    standing = after_observation(healthy, started(phase=phase), at(5))
    assert standing.verdict is verdict
    assert standing.start is None
    assert after_probe(standing, OK, at(6)) == standing, "a late answer changes nothing"


def test_a_failure_says_why() -> None:
    observed = started(phase=Phase.FAILED, reason=Reason.CONFIG_INVALID, message="unknown key foo")
    assert after_observation(None, observed, T0).error == "config_invalid: unknown key foo"


def test_the_same_start_seen_again_changes_nothing() -> None:
    standing = judged((1, "+"))
    assert after_observation(standing, started(), at(9)) is standing


def test_a_new_start_is_judged_afresh_with_its_own_grace() -> None:
    ill = judged(*series("+---", first=70))
    fresh = after_observation(ill, started(200), at(201))
    assert fresh.verdict is STARTING
    assert fresh.failures == 0
    assert fresh.grace_until == at(200 + GRACE)


def test_a_start_that_failed_and_runs_after_all_gets_its_chance() -> None:
    failed = after_observation(judged((1, "-")), started(phase=Phase.FAILED), at(5))
    assert after_observation(failed, started(), at(6)).verdict is STARTING


def test_starting_keeps_its_since_from_provisioning_to_the_first_answer() -> None:
    coming = after_observation(None, started(phase=Phase.PROVISIONING, started_at=None), T0)
    assert after_observation(coming, started(3), at(4)).since == T0


def published(verdict: Verdict, since: float, container_id: str | None = "c1", failures: int = 0) -> Health:
    return Health(
        instance_id="01arz3ndektsv4rrffq69g5fav",
        verdict=verdict,
        since=at(since),
        container_id=container_id,
        failures=failures,
    )


@pytest.mark.parametrize(
    ("health", "verdict", "since"),
    [
        (published(HEALTHY, 5), HEALTHY, 5),
        (published(UNHEALTHY, 90, failures=3), UNHEALTHY, 90),
        (published(STARTING, 1), STARTING, 1),
        (published(HEALTHY, -5), STARTING, 0),
        (published(HEALTHY, 5, container_id="c0"), STARTING, 0),
        (published(STOPPED, 5, container_id=None), STARTING, 0),
    ],
    ids=["healthy", "unhealthy", "starting", "earlier-start", "other-container", "stopped"],
)
def test_a_restarted_monitor_continues_what_it_published(health: Health, verdict: Verdict, since: float) -> None:
    standing = after_restart(after_observation(None, started(), T0), health)
    assert (standing.verdict, standing.since) == (verdict, at(since))


@given(st.lists(st.tuples(st.booleans(), st.floats(0.1, 30)), max_size=60))
def test_hysteresis_holds_for_any_series(probes: list[tuple[bool, float]]) -> None:
    standing, clock, history = after_observation(None, started(), T0), 0.0, ""
    for ok, pause in probes:
        before, clock, history = standing, clock + pause, history + ("+" if ok else "-")
        standing = after_probe(standing, OK if ok else BAD, at(clock))
        if clock < GRACE:
            assert standing.verdict is not UNHEALTHY
        if standing.verdict is UNHEALTHY and before.verdict is not UNHEALTHY:
            assert history.endswith("-" * FAILURES_TO_UNHEALTHY)
        if before.verdict is UNHEALTHY and standing.verdict is not UNHEALTHY:
            assert history.endswith("++")
        if ok and before.verdict is not UNHEALTHY:
            assert standing.verdict is HEALTHY
        assert (standing.since == before.since) == (standing.verdict is before.verdict)
        assert standing.failures == len(history) - len(history.rstrip("-"))
