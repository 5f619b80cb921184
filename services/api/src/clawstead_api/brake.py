"""Slows those who try tokens: who sent too many that are nobody's has to wait before another is looked at.

A token that was somebody's since this process started is looked at in any case, so that an owner behind the
same address as somebody who guesses is not locked out.
"""

import hashlib
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable

from clawstead_api.errors import TooManyFailuresError

_WINDOW_SECONDS = 60.0
_MAX_VISITORS = 10_000
_MAX_TOKENS = 1_000
_IPV6_NETWORK_BITS = 64


class Brake:
    """Counts failures by client address; of IPv6 by network, for a visitor commands all of its addresses."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = _WINDOW_SECONDS / per_minute if per_minute else 0.0
        self._clock = clock
        self._filled_until: OrderedDict[str, float] = OrderedDict()
        self._good: OrderedDict[bytes, None] = OrderedDict()

    def check(self, client: str, token: str) -> None:
        """Return if the token may be looked at.

        Raises:
            TooManyFailuresError: not yet.
        """
        wait = self._filled_until.get(_visitor(client), 0.0) - self._clock() - _WINDOW_SECONDS
        if wait > 0 and _digest(token) not in self._good:
            raise TooManyFailuresError(math.ceil(wait))

    def failed(self, client: str) -> None:
        """Count a token that is nobody's."""
        visitor = _visitor(client)
        until = max(self._filled_until.pop(visitor, 0.0), self._clock())
        self._filled_until[visitor] = until + self._interval
        _bound(self._filled_until, _MAX_VISITORS)

    def succeeded(self, token: str) -> None:
        """Remember a token that is somebody's."""
        self._good[_digest(token)] = None
        self._good.move_to_end(_digest(token))
        _bound(self._good, _MAX_TOKENS)


def _visitor(client: str) -> str:
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if address.version == 4:  # noqa: PLR2004 - of IP
        return client
    return str(ipaddress.ip_network((address, _IPV6_NETWORK_BITS), strict=False))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()


def _bound(known: OrderedDict[str, float] | OrderedDict[bytes, None], most: int) -> None:
    while len(known) > most:
        known.popitem(last=False)
