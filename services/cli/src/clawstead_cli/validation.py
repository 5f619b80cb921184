"""What makes an instance good, from the outside in: facts that were collected, and a judgement of each. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from http.client import responses

from clawstead_cli.adapters.edge import Answer, Served
from clawstead_cli.instance import RUNNING, Instance

_NEAR_END = timedelta(days=14)
_NEAR_END_SHARE = 1 / 6
"""Of a certificate's life: short ones are renewed when a third is left."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was seen of one instance at ``now``."""

    instance: Instance
    certificate: Served
    page: Answer
    """What its address answers."""
    gateway: Answer
    """What its gateway's health check answers through the edge."""
    now: datetime


@dataclass(frozen=True, slots=True)
class Check:
    """One judgement; ``todo`` says what to do if it is bad."""

    name: str
    good: bool
    seen: str
    todo: str = ""


def validate(facts: Facts) -> list[Check]:
    """Judge an instance, from the outside in."""
    return [check(facts) for check in _CHECKS]


def _certificate(facts: Facts) -> Check:
    served = facts.certificate
    if served.expires_at is None:
        return Check(
            "certificate",
            False,
            served.error or "none",
            "`clawstead status`: does proxy-sync run? `clawstead certs status` says who signed it; if that is the "
            "installation's own authority, --data-dir names the installation",
        )
    left = served.expires_at - facts.now
    life = served.expires_at - served.begins_at if served.begins_at else timedelta.max
    return Check(
        "certificate",
        left > min(_NEAR_END, life * _NEAR_END_SHARE),
        f"valid for {left.days} days",
        "it should have been renewed by now: `clawstead certs status`",
    )


def _route(facts: Facts) -> Check:
    status = facts.page.status
    seen = _told(facts.page)
    todo = "`clawstead logs proxy-sync`; a 503 is the edge's own page while the instance is not ready"
    bad = status is None or status == HTTPStatus.NOT_FOUND or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    if not bad and not facts.instance.route_active:
        return Check("route", False, f"{seen}, but the API knows of no active route", todo)
    return Check("route", not bad, seen, todo)


def _gateway(facts: Facts) -> Check:
    todo = f"`clawstead logs {facts.instance.id}`, `clawstead restart {facts.instance.id}`"
    return Check("gateway", facts.gateway.status == HTTPStatus.OK, _told(facts.gateway), todo)


def _state(facts: Facts) -> Check:
    instance = facts.instance
    good = instance.phase == RUNNING and instance.caught_up and instance.progress is None
    generation = f"generation {instance.observed_generation or 'none'} of {instance.generation}"
    why = f": {instance.reason}, {instance.message}" if instance.reason else ""
    todo = f"`clawstead instances start {instance.id}`; `clawstead logs provisioner` says what holds it"
    return Check("state", good, f"{instance.now}, {generation}{why}", instance.stalled_hint or todo)


def _monitor(facts: Facts) -> Check:
    health = facts.instance.health
    verdict = health.verdict if health else "not judged yet"
    error = f": {health.error}" if health and health.error else ""
    return Check(
        "monitor", verdict == "healthy", f"{verdict}{error}", "`clawstead check-health`, `clawstead logs health`"
    )


def _warnings(facts: Facts) -> Check:
    found = facts.instance.warnings
    seen = "; ".join(f"{warning.code}: {warning.message}" for warning in found) or "none"
    return Check("warnings", not found, seen, "what they name; the plan's limits are in GET /plans")


def _told(answer: Answer) -> str:
    if answer.status is None:
        return answer.error or "no answer"
    return f"{answer.status} {responses.get(answer.status, '')}"


_CHECKS: tuple[Callable[[Facts], Check], ...] = (_certificate, _route, _gateway, _state, _monitor, _warnings)
