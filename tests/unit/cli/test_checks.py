"""What the health command and the validation make of what they see: one thing wrong at a time."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from clawstead_cli.adapters.edge import Answer, Served
from clawstead_cli.health_report import checkup
from clawstead_cli.instance import Instance
from clawstead_cli.validation import Facts, validate

NOW = datetime(2026, 6, 1, tzinfo=UTC)
HEALTHY = {"verdict": "healthy", "since": "2026-05-31T00:00:00Z", "response_ms": 3.5}


def instance(**fields: Any) -> Instance:
    defaults = {
        "id": "a",
        "name": "shop",
        "phase": "running",
        "desired_state": "running",
        "generation": 2,
        "observed_generation": 2,
        "route_active": True,
        "health": HEALTHY,
    }
    return Instance.model_validate({**defaults, **fields})


def facts(**changes: Any) -> Facts:
    good = {
        "instance": instance(),
        "certificate": Served(NOW + timedelta(days=90), "AB"),
        "page": Answer(200),
        "gateway": Answer(200),
        "now": NOW,
    }
    return Facts(**{**good, **changes})


def failed(facts: Facts) -> list[str]:
    checks = validate(facts)
    assert all(check.todo for check in checks if not check.good)
    return [check.name for check in checks if not check.good]


def test_a_good_instance_passes_every_check() -> None:
    assert failed(facts()) == []


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"certificate": Served(NOW + timedelta(days=13), "AB")}, ["certificate"]),
        ({"certificate": Served(NOW + timedelta(days=3), "AB", begins_at=NOW - timedelta(days=3))}, []),
        ({"certificate": Served(error="certificate has expired")}, ["certificate"]),
        ({"page": Answer(404)}, ["route"]),
        ({"page": Answer(503)}, ["route"]),
        ({"page": Answer(error="refused")}, ["route"]),
        ({"page": Answer(401)}, []),
        ({"instance": instance(route_active=False)}, ["route"]),
        ({"gateway": Answer(502)}, ["gateway"]),
        ({"instance": instance(phase="failed", reason="crash_loop", message="x")}, ["state"]),
        ({"instance": instance(generation=3)}, ["state"]),
        ({"instance": instance(progress={"step": "pulling"})}, ["state"]),
        ({"instance": instance(health=None)}, ["monitor"]),
        ({"instance": instance(health={**HEALTHY, "verdict": "unhealthy"})}, ["monitor"]),
        ({"instance": instance(warnings=[{"code": "workspace_over_quota", "message": "6 GiB"}])}, ["warnings"]),
    ],
)
def test_each_thing_that_is_wrong_is_found_and_named(change: dict[str, Any], names: list[str]) -> None:
    assert failed(facts(**change)) == names


UNHEALTHY = {"verdict": "unhealthy", "since": NOW - timedelta(minutes=2), "failures": 4, "error": "timeout"}


@pytest.mark.parametrize(
    ("fields", "verdict", "alert"),
    [
        ({}, "healthy", None),
        ({"health": {**HEALTHY, "failures": 2}}, "healthy", None),
        ({"health": {**HEALTHY, "failures": 3}}, "healthy", "warning"),
        ({"health": UNHEALTHY}, "unhealthy", "warning"),
        ({"health": {**UNHEALTHY, "since": NOW - timedelta(minutes=11)}}, "unhealthy", "critical"),
        ({"health": None}, "unknown", None),
        ({"phase": "starting"}, "starting", None),
        ({"phase": "starting", "stalled": True}, "unhealthy", "warning"),
        ({"phase": "failed", "reason": "crash_loop", "message": "x", "health": None}, "unhealthy", "warning"),
        ({"phase": "stopped", "desired_state": "stopped"}, "stopped", None),
        ({"phase": "failed", "desired_state": "stopped", "reason": "x"}, "unhealthy", "warning"),
    ],
)
def test_an_instance_is_judged_for_cron(fields: dict[str, Any], verdict: str, alert: str | None) -> None:
    found = checkup(instance(**fields), NOW)
    assert (found.verdict, found.alert) == (verdict, alert)
    assert found.unhealthy == (verdict == "unhealthy")
