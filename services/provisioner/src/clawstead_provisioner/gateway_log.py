"""What a gateway that ended said about it: pure."""

import json
import re
from itertools import takewhile

_LONGEST = 500
_NOTHING_SAID = "the gateway said nothing"
_ADVICE = 'Run "openclaw'
_STAMP = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d) ")
# What the owner wrote may be a secret in the wrong place.
_QUOTED = re.compile(r",? got: .*$")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TELLING = re.compile(
    r"failed to start|invalid config|missing config|refusing to|unrecognized key"
    r"|EACCES|EADDRINUSE|fatal error|out of memory",
    re.IGNORECASE,
)


def complaint(log: str) -> str:
    """Return what of a log best says why the gateway ended, without control characters and quoted values.

    A line that ends with a colon goes on: with one line for each thing that is wrong, up to the next entry or advice.
    """
    lines = [line for line in map(_plain, log.splitlines()) if line]
    if not lines:
        return _NOTHING_SAID
    place = max((place for place, line in enumerate(lines) if _TELLING.search(line)), default=len(lines) - 1)
    said = _STAMP.sub("", lines[place])
    if said.endswith(":"):
        said = " ".join([said, "; ".join(takewhile(_goes_on, lines[place + 1 :]))])
    return said[:_LONGEST].strip()


def _goes_on(line: str) -> bool:
    return _STAMP.match(line) is None and not line.startswith(_ADVICE)


def _plain(line: str) -> str:
    try:
        document = json.loads(line)
    except ValueError:
        document = None
    text = document.get("message", "") if isinstance(document, dict) else line
    printable = "".join(character for character in _ESCAPES.sub("", str(text)) if character.isprintable())
    return _QUOTED.sub("", printable).strip()
