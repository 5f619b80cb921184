"""From an instance's row to what the bus is told: pure."""

from typing import Any

from clawstead_api.plans import Plan
from clawstead_api.requests import CreateInstance
from clawstead_api.tables import Instance
from clawstead_shared.events import Channel, Desired, InstanceSpec, Provider, RestartRequest, SecretRef
from clawstead_shared.settings import EdgeSettings

_AS_IT_IS: Any = object()


def new_spec(
    instance: Instance, request: CreateInstance, plan: Plan, edge: EdgeSettings, *, image: str
) -> dict[str, Any]:
    """Return the spec of a new instance, as it is stored."""
    return _spec(
        instance,
        plan,
        edge,
        image=request.image or image,
        channel=request.channel,
        provider=request.ai_provider,
    )


def respecified(
    instance: Instance,
    plan: Plan,
    edge: EdgeSettings,
    *,
    channel: Channel | None = _AS_IT_IS,
    provider: Provider | None = _AS_IT_IS,
) -> dict[str, Any]:
    """Return the spec of an instance with today's plan and public address, and another channel or provider."""
    spec = instance.specification
    return _spec(
        instance,
        plan,
        edge,
        image=spec.image,
        channel=spec.channel if channel is _AS_IT_IS else channel,
        provider=spec.provider if provider is _AS_IT_IS else provider,
    )


def _spec(
    instance: Instance,
    plan: Plan,
    edge: EdgeSettings,
    *,
    image: str,
    channel: Channel | None,
    provider: Provider | None,
) -> dict[str, Any]:
    spec = InstanceSpec(
        name=instance.name,
        owner_id=instance.owner_id,
        plan=instance.plan,
        image=image,
        subdomain=instance.subdomain,
        origin=edge.origin(instance.subdomain),
        limits=plan.limits,
        model=plan.model_for(provider),
        channel=channel,
        provider=provider,
        browser=plan.browser,
    )
    return spec.model_dump(mode="json")


def desired_of(instance: Instance, *, actor: str, request_id: str | None) -> Desired:
    """Return the full snapshot that tells the bus what ``instance`` should be."""
    restart = None
    if instance.restart_count:
        restart = RestartRequest(count=instance.restart_count, judged_start=instance.restart_judged_start)
    return Desired(
        instance_id=instance.id,
        generation=instance.generation,
        desired_state=instance.wanted,
        spec=instance.specification,
        secrets=SecretRef(key=instance.id, revision=instance.secret_revision),
        restart=restart,
        actor=actor,
        request_id=request_id,
    )
