"""Whether a payload's JSON schema only gained what v1 may gain: optional fields, and words of extensible enums."""

from collections.abc import Iterator
from typing import Any

_BOUNDS = ("enum", "const", "pattern", "format", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "type")


def breaking_changes(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return what changed from ``old`` to ``new`` beyond new optional fields, each with where; empty if nothing."""
    return list(_compared("payload", old, new, old, new))


def _compared(
    where: str, old: dict[str, Any], new: dict[str, Any], old_root: dict[str, Any], new_root: dict[str, Any]
) -> Iterator[str]:
    old, new = _resolved(old, old_root), _resolved(new, new_root)
    for bound in _BOUNDS:
        if bound == "enum" and old.get("x-extensible") and set(old["enum"]) <= set(new.get("enum", ())):
            continue
        if old.get(bound) != new.get(bound):
            yield f"{where}: {bound} was {old.get(bound)!r}, is {new.get(bound)!r}"
    yield from _compared_fields(where, old, new, old_root, new_root)
    for keyword in ("items", "additionalProperties"):
        if isinstance(old.get(keyword), dict):
            yield from _compared(f"{where}[]", old[keyword], new.get(keyword) or {}, old_root, new_root)
    old_choices, new_choices = old.get("anyOf", []), new.get("anyOf", [])
    if len(old_choices) != len(new_choices):
        yield f"{where}: had {len(old_choices)} alternatives, has {len(new_choices)}"
    else:
        for before, after in zip(old_choices, new_choices, strict=True):
            yield from _compared(where, before, after, old_root, new_root)


def _compared_fields(
    where: str, old: dict[str, Any], new: dict[str, Any], old_root: dict[str, Any], new_root: dict[str, Any]
) -> Iterator[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    for name in before.keys() - after.keys():
        yield f"{where}.{name} is gone"
    for name in set(new.get("required", [])) - set(old.get("required", [])):
        yield f"{where}.{name} became required"
    for name in set(old.get("required", [])) - set(new.get("required", [])):
        # A writer that leaves it out would break readers of the older version.
        yield f"{where}.{name} became optional"
    for name in before.keys() & after.keys():
        yield from _compared(f"{where}.{name}", before[name], after[name], old_root, new_root)


def _resolved(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    definition: dict[str, Any] = root["$defs"][reference.rpartition("/")[2]]
    return definition
