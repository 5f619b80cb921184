"""Small builders of contract objects, with every field overridable."""

from typing import Any

from clawstead_shared.events import (
    Desired,
    DesiredState,
    Event,
    EventType,
    InstanceSpec,
    Limits,
    Observed,
    Phase,
    Route,
)
from clawstead_shared.ids import new_instance_id

STANDIN_IMAGE = "clawstead-standin:test"


def make_limits(**overrides: Any) -> Limits:
    return Limits(**{"cpus": 0.5, "memory_bytes": 256 * 1024**2, "boot_grace_seconds": 90, **overrides})


def make_spec(instance_id: str, **overrides: Any) -> InstanceSpec:
    defaults: dict[str, Any] = {
        "name": "test",
        "owner_id": "owner-1",
        "plan": "free",
        "image": STANDIN_IMAGE,
        "subdomain": instance_id,
        "origin": f"https://{instance_id}.claw.localhost:8443",
        "limits": make_limits(),
        "model": "anthropic/claude-sonnet-5",
    }
    return InstanceSpec(**{**defaults, **overrides})


def make_desired(instance_id: str | None = None, **overrides: Any) -> Desired:
    instance_id = instance_id or new_instance_id()
    defaults: dict[str, Any] = {
        "instance_id": instance_id,
        "generation": 1,
        "desired_state": DesiredState.RUNNING,
        "spec": overrides.pop("spec", None) or make_spec(instance_id),
        "actor": "test",
    }
    return Desired(**{**defaults, **overrides})


def make_observed(instance_id: str | None = None, **overrides: Any) -> Observed:
    instance_id = instance_id or new_instance_id()
    defaults: dict[str, Any] = {
        "instance_id": instance_id,
        "generation": 1,
        "phase": Phase.RUNNING,
        "subdomain": instance_id,
        "host": "127.0.0.1",
        "port": 12345,
    }
    return Observed(**{**defaults, **overrides})


def make_route(instance_id: str, port: int, **overrides: Any) -> Route:
    defaults: dict[str, Any] = {
        "instance_id": instance_id,
        "generation": 1,
        "hostname": f"{instance_id}.claw.localhost",
        "upstream": f"127.0.0.1:{port}",
        "active": True,
        "map_generation": 1,
    }
    return Route(**{**defaults, **overrides})


def desired_event(desired: Desired, type_: EventType = EventType.CREATED) -> Event[Desired]:
    return Event(type_, "api", desired)


def observed_event(observed: Observed) -> Event[Observed]:
    return Event(EventType.of(observed), "provisioner", observed)


def route_event(route: Route) -> Event[Route]:
    return Event(EventType.ROUTE_CHANGED, "proxy-sync", route)
