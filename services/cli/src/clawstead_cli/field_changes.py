"""What differs between two documents, field by field. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """One field, named by its path. None is a field that is not there, or null."""

    field: str
    before: Any
    after: Any

    @property
    def text(self) -> str:
        """The change for reading."""
        return f"{self.field}: {_value(self.before)} -> {_value(self.after)}"


def fields_of(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the leaves of a document by their dotted paths; a list is a leaf."""
    found: dict[str, Any] = {}
    for name, value in document.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping):
            found |= fields_of(value, f"{path}.")
        else:
            found[path] = value
    return found


def changes(before: Fields, after: Fields) -> list[Change]:
    """Return the fields whose values differ, in the order in which they appear."""
    names = dict.fromkeys([*before, *after])
    return [Change(name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)]


def _value(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
