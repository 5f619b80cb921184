"""How often somebody may do something, as the environment states it: ``30/m``, ``5/s burst=20``, ``off``."""

import math
import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_settings import NoDecode

_RATE = re.compile(r"(?P<count>[1-9][0-9]{0,5})/(?P<unit>[sm])(?: +burst=(?P<burst>[0-9]{1,6}))?")
_OFF = {"", "0", "off"}
_SECONDS = {"s": 1, "m": 60}


@dataclass(frozen=True, slots=True)
class Rate:
    """So many in each second or minute, and ``burst`` more at once before that counts."""

    count: int
    unit: str
    burst: int

    @property
    def wait_seconds(self) -> int:
        """The least whole number of seconds after which there is room for one more."""
        return math.ceil(_SECONDS[self.unit] / self.count)


def parse_rate(text: str) -> Rate | None:
    """Read a rate; None for ``off``. Without a burst of its own, what a period allows may come at once.

    Raises:
        ValueError: it is none.
    """
    if text.strip().lower() in _OFF:
        return None
    found = _RATE.fullmatch(text.strip())
    if not found:
        raise ValueError("must be like 30/m, 5/s or 30/m burst=60, or off")
    return Rate(int(found["count"]), found["unit"], int(found["burst"] or found["count"]))


def _from_text(value: object) -> object:
    return parse_rate(value) if isinstance(value, str) else value


Limit = Annotated[Rate | None, NoDecode, BeforeValidator(_from_text)]
"""A setting that is a rate, None for no limit."""
