"""From an instance's row to what the bus is told: pure."""

from dataclasses import dataclass
from typing import Any

from clawstead_api.plans import Plan
from clawstead_api.requests import CreateInstance
from clawstead_api.tables import Instance
from clawstead_shared.events import Channel, Desired, InstanceSpec, Provider, RestartRequest, SecretRef
from clawstead_shared.settings import EdgeSettings

_AS_IT_IS: Any = object()


@dataclass(frozen=True, slots=True)
class _Image:
    reference: str
    revision: int = 0
    forced: bool = False


def new_spec(
    instance: Instance, request: CreateInstance, plan: Plan, edge: EdgeSettings, *, image: str
) -> InstanceSpec:
    """Return the spec of a new instance."""
    return _spec(
        instance,
        plan,
        edge,
        image=_Image(request.image or image),
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
) -> InstanceSpec:
    """Return the spec of an instance with today's plan and public address, and another channel or provider."""
    spec = instance.specification
    return _spec(
        instance,
        plan,
        edge,
        image=_Image(spec.image, spec.image_revision, spec.image_forced),
        channel=spec.channel if channel is _AS_IT_IS else channel,
        provider=spec.provider if provider is _AS_IT_IS else provider,
    )


def _spec(
    instance: Instance,
    plan: Plan,
    edge: EdgeSettings,
    *,
    image: _Image,
    channel: Channel | None,
    provider: Provider | None,
) -> InstanceSpec:
    return InstanceSpec(
        name=instance.name,
        owner_id=instance.owner_id,
        plan=instance.plan,
        image=image.reference,
        image_revision=image.revision,
        image_forced=image.forced,
        subdomain=instance.subdomain,
        origin=edge.origin(instance.subdomain),
        limits=plan.limits,
        model=plan.model_for(provider),
        channel=channel,
        provider=provider,
        browser=plan.browser,
    )


def updated(instance: Instance, *, image: str, forced: bool) -> InstanceSpec:
    """Return the spec of an instance that shall run what ``image`` names by now."""
    spec = instance.specification
    change = {"image": image, "image_revision": spec.image_revision + 1, "image_forced": forced}
    return spec.model_copy(update=change)


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
        force=instance.hidden_at is not None,
        actor=actor,
        request_id=request_id,
    )
