"""The text of a gateway's config file: pure. JSON5, as the gateway reads it, so its owner may have comments in it."""

import json
import re
from typing import Any

import pyjson5

from clawstead_provisioner.errors import ProvisioningError
from clawstead_shared.events import Reason

_DEEPEST = 100
_NEAR = re.compile(r"near (\d+)")


def parse_config(text: str, file: str) -> dict[str, Any]:
    """Return what a config file says; nothing if it is empty.

    Raises:
        ProvisioningError: ``config_invalid`` with the place where it stops making sense, and nothing of what is there.
    """
    if not text.strip():
        return {}
    try:
        document = pyjson5.decode(text, maxdepth=_DEEPEST)
    except pyjson5.Json5Exception as error:
        raise _invalid(file, f"is not JSON5 {_place(text, str(error))}") from error
    if not isinstance(document, dict):
        raise _invalid(file, "is not an object")
    return document


def config_text(existing: str, before: dict[str, Any], after: dict[str, Any]) -> str:
    """Return the text for a changed config; the existing one, with its comments, if nothing changed."""
    return existing if before == after else json.dumps(after, indent=2) + "\n"


def _invalid(file: str, what: str) -> ProvisioningError:
    remedy = (
        f"correct it, or remove it to have a new one made; {file}.bak is the gateway's own copy of the last good one"
    )
    return ProvisioningError(Reason.CONFIG_INVALID, f"{file} {what}: {remedy}")


def _place(text: str, complaint: str) -> str:
    found = _NEAR.search(complaint)
    offset = min(int(found[1]), len(text)) if found else len(text)
    before = text[: max(offset - 1, 0)]
    return f"near line {before.count(chr(10)) + 1}, column {len(before) - before.rfind(chr(10))}"
