"""Ports for servers that a test starts."""

import random
import socket

# Above the gateways' range, below the one that the system gives to connections going out: a port that it
# picked itself may be taken by any of them before the server that it is meant for listens.
_PORTS = range(20_001, 32_768)


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    while True:
        port = random.choice(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
