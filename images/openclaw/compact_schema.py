"""Makes OpenClaw's config schema self-contained and small: stdin to stdout.

Plugins bring their own schemas, whose references start at their own root; inside the whole they must start at
the whole's. Titles, descriptions and examples, more than half of the text, say nothing to a validator.
"""

import json
import re
import sys
from typing import Any

NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\0(?!\d)")
"""ECMAScript's way to write the NUL character, which the validator's engine does not know."""
PROSE = ("title", "description", "examples", "$comment")


def compact(node: Any, path: str, root: str) -> Any:
    """Return the node without prose, its references pointing below ``root``, the innermost part with definitions."""
    if isinstance(node, list):
        return [compact(child, f"{path}/{index}", root) for index, child in enumerate(node)]
    if not isinstance(node, dict):
        return node
    if "$defs" in node:
        root = path
    if isinstance(node.get("$ref"), str):
        return {"$ref": f"#{root}{node['$ref'][1:]}"}
    if isinstance(node.get("pattern"), str):
        node = node | {"pattern": NUL.sub(r"\1\\x00", node["pattern"])}
    if isinstance(node.get("required"), list):
        node = node | {"required": [name for name in node["required"] if not has_default(node, name)]}
    return {
        key: compact(child, f"{path}/{key}", root)
        for key, child in node.items()
        # A setting may be called "title" too: then its value is a schema, not text.
        if not (key in PROSE and isinstance(child, (str, list)))
    }


def has_default(node: dict[str, Any], name: str) -> bool:
    """Tell whether OpenClaw fills the setting in itself: its schema calls those required, its parser does not."""
    schema = node.get("properties", {}).get(name)
    return isinstance(schema, dict) and "default" in schema


json.dump(compact(json.load(sys.stdin), "", ""), sys.stdout, separators=(",", ":"), sort_keys=True)
sys.stdout.write("\n")
