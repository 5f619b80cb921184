"""Golden files: the expected text of a pure builder, kept beside its test. ``UPDATE_GOLDEN=1`` rewrites them."""

import json
import os
from pathlib import Path
from typing import Any


def assert_golden(path: Path, document: Any) -> None:
    """Compare a JSON document with the golden file."""
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    assert document == json.loads(_golden(path, text))


def assert_golden_text(path: Path, text: str) -> None:
    """Compare a text with the golden file."""
    assert text == _golden(path, text)


def _golden(path: Path, text: str) -> str:
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.exists(), f"{path} is missing: run with UPDATE_GOLDEN=1 and look at it"
    return path.read_text()
