"""A visitor of the HTTPS port, who looks at the certificate and trusts nobody."""

import asyncio
import hashlib
import ssl

_TIMEOUT_SECONDS = 3.0


class TlsVisitor:
    """Keeps ``Visitor``. Comes to ``host`` and asks for ``domain``."""

    def __init__(self, host: str, port: int, domain: str) -> None:
        self._host = host
        self._port = port
        self._domain = domain
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # Which certificate is shown is the question; whether to trust it is for those who know its authority.
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE

    async def fingerprint(self) -> str | None:
        """See ``Visitor.fingerprint``."""
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                _, writer = await asyncio.open_connection(
                    self._host, self._port, ssl=self._tls, server_hostname=self._domain
                )
        except (OSError, TimeoutError):
            return None
        shown: ssl.SSLObject = writer.get_extra_info("ssl_object")
        writer.transport.abort()
        certificate = shown.getpeercert(binary_form=True)
        return hashlib.sha256(certificate).hexdigest() if certificate else None
