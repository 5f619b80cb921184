"""From the desired state to everything an instance is made of: its secrets, files and container, not yet real."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from clawstead_provisioner.config_schema import check_config
from clawstead_provisioner.config_text import config_text, parse_config
from clawstead_provisioner.env_file import env_file, variables
from clawstead_provisioner.errors import ProvisioningError
from clawstead_provisioner.image_profiles import PLUGINS_LABEL, ImageProfile, ImageProfiles
from clawstead_provisioner.memory import Memory
from clawstead_provisioner.openclaw_config import (
    Settings,
    applied,
    as_json,
    default_settings,
    from_json,
    merged,
    owned_settings,
)
from clawstead_provisioner.ports import Container, LocalImage, Secrets
from clawstead_provisioner.spec import ContainerSpec, Resources, Site, container_spec, resources
from clawstead_provisioner.storage import InstanceFiles
from clawstead_provisioner.vault import InstanceSecrets, SealingKey
from clawstead_shared.errors import TransientError
from clawstead_shared.events import Desired, Reason

_SECRETS_ATTEMPTS = 3
_SECRETS_RETRY = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Blueprint:
    """One instance on one port."""

    spec: ContainerSpec
    image_present: bool
    """The engine has the image."""
    profile: ImageProfile
    owned: Settings
    defaults: Settings
    secrets: InstanceSecrets
    variables: dict[str, str] = field(repr=False)
    """What goes into the ``.env``."""

    def files(self, existing: InstanceFiles) -> InstanceFiles:
        """Return the instance's files, merged with what it has.

        Raises:
            ProvisioningError: ``config_invalid``: the gateway would refuse them.
        """
        theirs = parse_config(existing.config, self.profile.config.file)
        previous = from_json(_parsed_json(existing.applied))
        config = merged(theirs, self.owned, self.defaults, previous)
        check_config(config, schema=self.profile.config.schema_name, theirs=theirs)
        return InstanceFiles(
            config=config_text(existing.config, theirs, config),
            env=env_file(existing.env, self.variables),
            applied=json.dumps(as_json(applied(self.owned, self.defaults))),
        )


class Blueprints:
    """Draws blueprints; knows where secrets come from."""

    def __init__(self, site: Site, secrets: Secrets, key: SealingKey, profiles: ImageProfiles) -> None:
        self._site = site
        self._secrets = secrets
        self._key = key
        self._profiles = profiles
        self._digests: dict[str, tuple[int, str]] = {}

    async def draw(
        self, desired: Desired, port: int, memory: Memory, image: LocalImage | None, source: str
    ) -> Blueprint:
        """Return the blueprint of an instance, made from ``source``, which the engine has as ``image`` if at all.

        Raises:
            TransientError: its secrets are not there yet.
            ProvisioningError: they stay missing, or cannot be used.
        """
        profile = self._profiles.of(desired.spec.image, image.labels if image else {})
        secrets = await self._open(desired, memory)
        if image is not None:
            _check_channel(desired, profile)
            _check_api_key(desired, profile, secrets)
        digest = self._remember(desired, secrets)
        names = variables(desired.spec, secrets, profile)
        secret_env = dict.fromkeys(profile.gateway_token_variables, secrets.gateway_token)
        in_file = profile.secrets == "file"
        spec = self._spec(desired, port, profile, digest, secret_env if in_file else secret_env | names)
        return Blueprint(
            spec=replace(spec, image=source),
            image_present=image is not None,
            profile=profile,
            owned=self._owned(desired, port, profile),
            defaults=default_settings(desired, profile, self._site.otlp_endpoint),
            secrets=secrets,
            variables=names if in_file else {},
        )

    def profile(self, image: str, container: Container | None) -> ImageProfile:
        """Return what is known of a container's image, or of ``image`` if there is no container."""
        image = container.image_reference or image if container else image
        try:
            return self._profiles.of(image, container.labels if container else {})
        except ProvisioningError:
            return self._profiles.of(image, {})

    async def fingerprint(self, desired: Desired, port: int, labels: Mapping[str, str]) -> str | None:
        """Return what a container made now would be marked with; None when the secrets cannot be told.

        ``labels`` are those of the container that there is: they say what its image was when it was made.

        Raises:
            ProvisioningError: its image asks for a profile that there is not.
        """
        if desired.secrets is None:
            return None
        known = self._digests.get(desired.instance_id)
        if known is None or known[0] != desired.secrets.revision:
            try:
                secrets = await self._secrets.fetch(desired.secrets)
            except ProvisioningError:
                return None
            if secrets is None:
                return None
            self._remember(desired, secrets)
        digest = self._digests[desired.instance_id][1]
        profile = self._profiles.of(desired.spec.image, labels)
        return self._spec(desired, port, profile, digest, {}).fingerprint

    def resources(self, desired: Desired) -> Resources:
        """Return what the instance's container may use."""
        return resources(desired, self._site)

    async def masked(self, desired: Desired, text: str) -> str:
        """Return ``text`` without the instance's secrets; nothing of it if they cannot be told."""
        try:
            secrets = await self._secrets.fetch(desired.secrets) if desired.secrets else None
        except (ProvisioningError, TransientError):
            secrets = None
        return secrets.masked(text) if secrets else ""

    def forget(self, instance_id: str) -> None:
        """Drop what is remembered of an instance."""
        self._digests.pop(instance_id, None)

    async def _open(self, desired: Desired, memory: Memory) -> InstanceSecrets:
        if desired.secrets is None:
            raise ProvisioningError(Reason.SECRETS_MISSING, "the instance has no gateway token")
        secrets = await self._secrets.fetch(desired.secrets)
        if secrets is not None:
            memory.missing_secrets = 0
            return secrets
        memory.missing_secrets += 1
        if memory.missing_secrets <= _SECRETS_ATTEMPTS:
            raise TransientError("the instance's secrets are not on the bus yet", retry_after=_SECRETS_RETRY)
        raise ProvisioningError(
            Reason.SECRETS_MISSING, "the instance's secrets are not on the bus: have the API publish them again"
        )

    def _remember(self, desired: Desired, secrets: InstanceSecrets) -> str:
        digest = self._key.digest(secrets)
        if desired.secrets is not None:
            self._digests[desired.instance_id] = (desired.secrets.revision, digest)
        return digest

    def _owned(self, desired: Desired, port: int, profile: ImageProfile) -> Settings:
        return owned_settings(desired, self._site.network(desired.instance_id, port).gateway, profile)

    def _spec(
        self, desired: Desired, port: int, profile: ImageProfile, digest: str, secret_env: Mapping[str, str]
    ) -> ContainerSpec:
        config: list[Any] = [desired.spec.channel, desired.spec.provider]
        if not profile.config.live:
            config += [
                as_json(self._owned(desired, port, profile)),
                as_json(default_settings(desired, profile, self._site.otlp_endpoint)),
            ]
        return container_spec(
            desired, self._site, port, profile, secret_env=secret_env, config=config, secrets_digest=digest
        )


def _check_channel(desired: Desired, profile: ImageProfile) -> None:
    channel = desired.spec.channel
    if channel is None or channel in profile.channels or channel.value in profile.plugins:
        return
    raise ProvisioningError(
        Reason.CONFIG_INVALID,
        f"image {desired.spec.image} lacks the {channel.value.capitalize()} plugin: "
        f"choose an image whose label {PLUGINS_LABEL} names it, or no {channel.value} channel",
    )


def _check_api_key(desired: Desired, profile: ImageProfile, secrets: InstanceSecrets) -> None:
    if profile.needs_api_key and not (desired.spec.provider and secrets.api_key):
        raise ProvisioningError(
            Reason.CONFIG_INVALID,
            f"image {desired.spec.image} does not start without a provider's API key: give the instance one",
        )


def _parsed_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
