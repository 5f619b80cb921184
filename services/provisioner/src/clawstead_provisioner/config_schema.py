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

SCHEMA = "openclaw-2026.9.6.json"

_MIGRATED = {("meta",), ("agents",), ("gateway", "tailscale"), ("cron",), ("wizard",)}
"""Objects in which the gateway itself replaces keys of older versions when it starts."""


def check_config(config: dict[str, Any], *, theirs: dict[str, Any]) -> None:
    """Check a config; ``theirs`` is what the instance already had, where old keys are the gateway's to migrate.

    Raises:
        ProvisioningError: ``config_invalid`` with the path and what is wrong there, never the value.
    """
    for error in _validator().iter_errors(config):
        path = tuple(map(str, error.instance_path))
        if theirs and path in _MIGRATED and "dditional properties" in error.message:
            continue
        raise ProvisioningError(
            Reason.CONFIG_INVALID, f"openclaw.json: {'.'.join(path) or '<root>'}: {error.message[:300]}"
        )


def load_schema() -> None:
    """Compile the schema now (50 ms), not in the way of the first instance."""
    _validator()


@cache
def _validator() -> Draft7Validator:
    text = files("clawstead_provisioner").joinpath("schemas", SCHEMA).read_bytes()
    return Draft7Validator(json.loads(text), mask="the value")
