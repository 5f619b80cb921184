"""The ``.env`` of an instance: pure. Ours is a marked block; every other line is the owner's and stays."""

from collections.abc import Mapping

from clawstead_provisioner.errors import ProvisioningError
from clawstead_provisioner.image_profiles import ImageProfile
from clawstead_provisioner.vault import InstanceSecrets
from clawstead_shared.events import InstanceSpec, Reason

BEGIN = "# >>> clawstead: rewritten at every start"
END = "# <<< clawstead"


def variables(spec: InstanceSpec, secrets: InstanceSecrets, profile: ImageProfile) -> dict[str, str]:
    """Return the secret variables of an instance.

    Raises:
        ProvisioningError: ``config_invalid`` when a value cannot be written to such a file.
    """
    found: dict[str, str] = {}
    if spec.provider is not None and secrets.api_key:
        found[profile.api_key_variables[spec.provider]] = secrets.api_key
    if spec.channel is not None and secrets.bot_token:
        found[profile.bot_token_variables[spec.channel]] = secrets.bot_token
    for name, value in found.items():
        if not value.isascii() or not value.isprintable() or any(character in value for character in "'\"\\`$# "):
            raise ProvisioningError(Reason.CONFIG_INVALID, f"{name} holds a character that no key or token has")
    return found


def env_file(existing: str, values: Mapping[str, str]) -> str:
    """Return ``existing`` with our block replaced, added at the end if there was none and it is needed."""
    if not values and BEGIN not in existing:
        return existing
    before, _, rest = existing.partition(BEGIN)
    ours_before, marker, after = rest.partition(END)
    # Without its end the block has no extent: keep everything rather than lose a line of the owner's.
    lines = [*before.splitlines(), *(after if marker else ours_before).splitlines()]
    theirs = "\n".join(line for line in lines if line.strip())
    ours = "\n".join([BEGIN, *(f"{name}={value}" for name, value in sorted(values.items())), END])
    return f"{theirs}\n{ours}\n" if theirs else f"{ours}\n"
