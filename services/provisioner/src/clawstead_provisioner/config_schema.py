"""Whether the pinned OpenClaw accepts a config, known before a container starts with it.

The gateway ends with code 78 at the first unknown key. Its own schema (``openclaw config schema``, stored by
``images/openclaw/schema.sh``) tells us first, with the path.
"""

import json
from functools import cache
from importlib.resources import files
from typing import Any

from jsonschema_rs import Draft7Validator

from clawstead_provisioner.errors import ProvisioningError
from clawstead_shared.events import Reason

_MIGRATED = {("meta",), ("agents",), ("gateway", "tailscale"), ("cron",), ("wizard",)}
"""Objects in which the gateway itself replaces keys of older versions when it starts."""


def check_config(config: dict[str, Any], *, schema: str, theirs: dict[str, Any]) -> None:
    """Check a config against a stored schema; an empty name leaves that to the gateway.

    ``theirs`` is what the instance already had, where old keys are the gateway's to migrate.

    Raises:
        ProvisioningError: ``config_invalid`` with the path and what is wrong there, never the value.
    """
    if not schema:
        return
    for error in _validator(schema).iter_errors(config):
        path = tuple(map(str, error.instance_path))
        if theirs and path in _MIGRATED and "dditional properties" in error.message:
            continue
        raise ProvisioningError(
            Reason.CONFIG_INVALID, f"openclaw.json: {'.'.join(path) or '<root>'}: {error.message[:300]}"
        )


def load_schema(name: str) -> None:
    """Compile a schema now (50 ms), not in the way of the first instance.

    Raises:
        ValueError: there is no such schema.
    """
    if name:
        _validator(name)


@cache
def _validator(name: str) -> Draft7Validator:
    stored = files("clawstead_provisioner").joinpath("schemas", f"{name}.json")
    if not stored.is_file():
        raise ValueError(f"no schema of a config is called {name}: use one of the provisioner's schemas/, or none")
    return Draft7Validator(json.loads(stored.read_bytes()), mask="the value")
