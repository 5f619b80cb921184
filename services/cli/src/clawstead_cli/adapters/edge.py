"""The edge as a visitor meets it: its certificate, and what answers at an instance's address."""

import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from clawstead_cli.adapters.tls import HttpsConnection, trusting

_TIMEOUT_SECONDS = 10.0
_MAX_ANSWER_BYTES = 65536
_HTTPS_PORT = 443


@dataclass(frozen=True, slots=True)
class Served:
    """A certificate that was served and is trusted; or why not."""

    expires_at: datetime | None = None
    serial: str | None = None
    """Upper-case hexadecimal without leading zeros."""
    error: str | None = None
    begins_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; status None when nothing did."""

    status: int | None = None
    error: str | None = None


class Edge:
    """The edge, trusted by one of ``authorities`` or a public one. Every call ends within ten seconds."""

    def __init__(self, authorities: Iterable[Path]) -> None:
        self._authorities = tuple(authorities)

    def certificate(self, url: str) -> Served:
        """Return the certificate that is served for the hostname of ``url``."""
        connection = self._connection(url)
        try:
            connection.connect()
            peer = connection.peer_certificate
        except ssl.SSLCertVerificationError as error:
            return Served(error=error.verify_message)
        except socket.gaierror as error:
            return Served(
                error=f"{connection.host} has no address in the DNS that this machine asks ({error.strerror})"
            )
        except (OSError, HTTPException) as error:
            return Served(error=str(error))
        finally:
            connection.close()
        begins_at, expires_at = (
            datetime.fromtimestamp(ssl.cert_time_to_seconds(str(peer[name])), UTC) for name in ("notBefore", "notAfter")
        )
        return Served(expires_at, str(peer["serialNumber"]).lstrip("0"), begins_at=begins_at)

    def get(self, url: str, path: str = "/") -> Answer:
        """Return what ``path`` at ``url`` answers, redirects not followed."""
        connection = self._connection(url)
        try:
            connection.request("GET", path, headers={"Accept": "text/html"})
            response = connection.getresponse()
            response.read(_MAX_ANSWER_BYTES)
        except (OSError, HTTPException) as error:
            return Answer(error=str(error))
        finally:
            connection.close()
        return Answer(response.status)

    def _connection(self, url: str) -> HttpsConnection:
        parts = urlsplit(url)
        port = parts.port or _HTTPS_PORT
        context = trusting(self._authorities)
        return HttpsConnection(parts.hostname or "", port, timeout=_TIMEOUT_SECONDS, context=context)
