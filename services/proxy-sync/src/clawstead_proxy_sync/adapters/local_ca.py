"""A certificate authority of this installation's own, for where there is no public one.

    tls/ca.pem     the authority's certificate, for users to trust
    tls/ca.key     its key (0600)
    tls/site.pem   key and chain of the wildcard certificate, in one file so that they change together (0600)
    tls/site.json  what site.pem was made for

The authority may only sign for the domain (name constraints), so trusting it risks nothing else.
"""

import asyncio
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from clawstead_proxy_sync.adapters.files import make_directory, write_atomically
from clawstead_proxy_sync.ports import Certificate

if TYPE_CHECKING:
    from clawstead_proxy_sync.adapters.signing import Pair

log = structlog.get_logger()

RENEW_BEFORE = timedelta(days=30)

_SECRET = 0o600


class LocalAuthority:
    """Makes and renews the wildcard certificate. Keeps ``CertificateSource``."""

    def __init__(self, directory: Path, domain: str) -> None:
        self._directory = directory
        self._domain = domain
        self._authority = directory / "ca.pem"
        self._authority_key = directory / "ca.key"
        self._site = directory / "site.pem"
        self._facts = directory / "site.json"
        self._issued = False

    async def current(self) -> Certificate:
        """See ``CertificateSource.current``."""
        return await asyncio.to_thread(self._current)

    def _current(self) -> Certificate:
        if certificate := self._valid():
            self._issued = True
            return certificate
        make_directory(self._directory, mode=0o755)
        self._issue()
        if certificate := self._valid():
            self._issued = True
            log.info("certificate issued", domain=self._domain, expires_at=certificate.expires_at.isoformat())
            return certificate
        raise OSError(f"the certificate in {self._directory} cannot be read back")

    def _valid(self) -> Certificate | None:
        try:
            facts = json.loads(self._facts.read_text())
            expires_at = datetime.fromisoformat(facts["expires_at"])
            digest = self._digest()
            fit = (facts["domain"], facts["digest"]) == (self._domain, digest)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None
        if not fit or expires_at - datetime.now(UTC) < RENEW_BEFORE:
            return None
        return Certificate(self._site, self._site, digest, expires_at)

    def _issue(self) -> None:
        from clawstead_proxy_sync.adapters import signing  # noqa: PLC0415 - see there

        authority = self._stored_authority()
        if authority is None and (self._issued or self._site.exists()):
            log.error("the certificate authority was lost: users must trust the new one", path=str(self._authority))
        if authority is None or not signing.signs_for(authority, self._domain):
            authority = signing.make_authority(self._domain)
            write_atomically(self._authority_key, authority.key_pem, mode=_SECRET)
            write_atomically(self._authority, authority.certificate_pem)
            log.info("certificate authority made", domain=self._domain, path=str(self._authority))
        leaf = signing.make_leaf(self._domain, authority)
        content = leaf.key_pem + leaf.certificate_pem + authority.certificate_pem
        write_atomically(self._site, content, mode=_SECRET)
        facts = {"domain": self._domain, "digest": self._digest(), "expires_at": leaf.expires_at.isoformat()}
        write_atomically(self._facts, json.dumps(facts).encode())

    def _stored_authority(self) -> "Pair | None":
        from clawstead_proxy_sync.adapters import signing  # noqa: PLC0415 - see there

        try:
            return signing.load(self._authority.read_bytes(), self._authority_key.read_bytes())
        except (FileNotFoundError, ValueError):
            return None

    def _digest(self) -> str:
        # The authority counts in: after it was lost, users could not trust what it once signed.
        return hashlib.sha256(self._site.read_bytes() + self._authority.read_bytes()).hexdigest()
