"""Makes OpenClaw's config schema self-contained, small and fit for configs as people write them: stdin to stdout.

Plugins bring their own schemas, whose references start at their own root; inside the whole they must start at
the whole's. Prose says nothing to a validator. What has a default need not be written, although the schema,
which describes the config after defaults, requires it. And a thousand parts occur again and again: written
once, the compiled validator takes half the memory.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

Schema = dict[str, Any]

NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\0(?!\d)")
"""ECMAScript's way to write the NUL character, which the validator's engine does not know."""
PROSE = ("title", "description", "examples", "$comment", "default")
MAPS = ("properties", "$defs", "definitions", "patternProperties")
LISTS = ("anyOf", "oneOf", "allOf")
SINGLES = ("items", "additionalProperties", "not", "propertyNames")
WORTH_SHARING = 60
"""Characters; less is not shorter as a reference."""


def with_parts(schema: Schema, change: Callable[[Any, str], Any], path: str = "") -> Schema:
    """Return the schema with ``change(part, path)`` in place of each schema directly in it."""
    changed = dict(schema)
    for key, value in schema.items():
        if key in MAPS and isinstance(value, dict):
            changed[key] = {name: change(part, f"{path}/{key}/{name}") for name, part in value.items()}
        elif key in LISTS or (key == "items" and isinstance(value, list)):
            changed[key] = [change(part, f"{path}/{key}/{index}") for index, part in enumerate(value)]
        elif key in SINGLES:
            changed[key] = change(value, f"{path}/{key}")
    return changed


def compact(schema: Any, path: str, root: str) -> Any:
    """Return a schema without prose, its references pointing below ``root``, the innermost part with definitions."""
    if not isinstance(schema, dict):
        return schema
    if "$defs" in schema:
        root = path
    if isinstance(schema.get("$ref"), str):
        return {"$ref": f"#{root}{schema['$ref'][1:]}"}
    if isinstance(schema.get("pattern"), str):
        schema = schema | {"pattern": NUL.sub(r"\1\\x00", schema["pattern"])}
    if "required" in schema:
        parts = schema.get("properties", {})
        schema = schema | {"required": [name for name in schema["required"] if "default" not in parts.get(name, {})]}
    bare = {key: value for key, value in schema.items() if key not in PROSE}
    return with_parts(bare, lambda part, below: compact(part, below, root), path)


def shared(schema: Schema) -> Schema:
    """Return the schema with every part that occurs more than once written once, as a definition."""
    uses: Counter[str] = Counter()
    names: dict[str, str] = {}
    definitions: Schema = {}

    def count(part: Any, _: str) -> Any:
        if isinstance(part, dict):
            uses[json.dumps(part, sort_keys=True)] += 1
            with_parts(part, count)
        return part

    def share(part: Any, _: str) -> Any:
        if not isinstance(part, dict):
            return part
        text = json.dumps(part, sort_keys=True)
        # A part with references may be somebody's definition itself: it stays where it can be found.
        if uses[text] == 1 or len(text) < WORTH_SHARING or "$ref" in text or "$defs" in text:
            return with_parts(part, share)
        if text not in names:
            names[text] = f"shared{len(names)}"
            definitions[names[text]] = with_parts(part, share)
        return {"$ref": f"#/$defs/{names[text]}"}

    count(schema, "")
    return with_parts(schema, share) | {"$defs": definitions}


def main() -> None:
    """Rewrite the schema on stdin."""
    json.dump(shared(compact(json.load(sys.stdin), "", "")), sys.stdout, separators=(",", ":"), sort_keys=True)
    sys.stdout.write("\n")


main()
