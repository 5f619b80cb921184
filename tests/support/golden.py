"""Golden files: the expected text of a pure builder, kept beside its test. ``UPDATE_GOLDEN=1`` rewrites them."""

import json
import os
from pathlib import Path
from typing import Any


def assert_golden(path: Path, document: Any) -> None:
    """Compare a JSON document with the golden file."""
    text = json.dumps(document, indent=2, sort_keys=True) + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.exists(), f"{path} is missing: run with UPDATE_GOLDEN=1 and look at it"
    assert document == json.loads(path.read_text())
