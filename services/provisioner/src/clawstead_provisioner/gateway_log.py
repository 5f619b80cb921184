"""What a gateway that ended said about it: pure."""

import json
import re

_LONGEST = 500
_NOTHING_SAID = "the gateway said nothing"
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TELLING = re.compile(
    r"failed to start|invalid config|missing config|refusing to|unrecognized key"
    r"|EACCES|EADDRINUSE|fatal error|out of memory",
    re.IGNORECASE,
)


def complaint(log: str) -> str:
    """Return the line of a log that best says why the gateway ended, without control characters."""
    lines = [line for line in map(_plain, log.splitlines()) if line]
    telling = [line for line in lines if _TELLING.search(line)]
    said = (telling or lines)[-1] if lines else _NOTHING_SAID
    return said[:_LONGEST]


def _plain(line: str) -> str:
    try:
        document = json.loads(line)
    except ValueError:
        document = None
    text = document.get("message", "") if isinstance(document, dict) else line
    return "".join(character for character in _ESCAPES.sub("", str(text)) if character.isprintable()).strip()
