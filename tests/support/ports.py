"""Ports for servers that a test starts."""

import itertools
import os
import random
import socket
from collections.abc import Iterator

# Above the gateways' range, below the one that the system gives to connections going out: a port that it
# picked itself may be taken by any of them before the server that it is meant for listens.
_PORTS = range(20_001, 32_768)


def _own_ports() -> range:
    # Tests that run beside these ones have ports of their own, as nothing listens yet on one that is only promised.
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    share = len(_PORTS) // count
    return _PORTS[number * share : (number + 1) * share]


def _round(ports: range) -> Iterator[int]:
    # In turn, so that a promised one is not promised again; from anywhere, as another run may be on this machine.
    start = random.randrange(len(ports))
    return itertools.cycle([*ports[start:], *ports[:start]])


_turn = _round(_own_ports())


def free_port() -> int:
    """Return a loopback port that nothing listens on, and that was not promised to anyone lately."""
    for port in _turn:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("unreachable: the turn never ends")
