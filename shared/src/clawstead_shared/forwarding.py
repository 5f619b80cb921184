"""Who asked, behind the edge: it overwrites ``X-Forwarded-For``, and services listen where only the edge connects."""

import ipaddress
from collections.abc import Sequence


def client_address(forwarded: Sequence[str], peer: str) -> str:
    """Return the client's address from the values of ``X-Forwarded-For``; ``peer``'s own where there is none."""
    candidate = forwarded[-1].rpartition(",")[2].strip() if forwarded else ""
    try:
        return str(ipaddress.ip_address(candidate))
    except ValueError:
        return peer
