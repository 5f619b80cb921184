"""TLS to names of this platform: trusted by the installation's authority or another, also below ``localhost``."""

import socket
import ssl
from collections.abc import Iterable
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any

_LOOPBACK = "127.0.0.1"


class HttpsConnection(HTTPSConnection):
    """HTTPS that also finds names below ``localhost``: browsers know them (RFC 6761), most resolvers do not."""

    sock: ssl.SSLSocket
    _context: ssl.SSLContext

    def connect(self) -> None:
        """See ``HTTPSConnection.connect``."""
        address = _LOOPBACK if self.host.endswith(".localhost") else self.host
        plain = socket.create_connection((address, self.port), self.timeout)
        self.sock = self._context.wrap_socket(plain, server_hostname=self.host)

    @property
    def peer_certificate(self) -> dict[str, Any]:
        """The verified certificate of the other side, once connected."""
        return dict(self.sock.getpeercert() or {})


def trusting(authorities: Iterable[Path]) -> ssl.SSLContext:
    """Return a context that trusts the public authorities, and those of files that are there."""
    context = ssl.create_default_context()
    for path in authorities:
        if path.exists():
            context.load_verify_locations(path)
    return context
