"""A certificate authority of this installation's own, for where there is no public one.

    tls/ca.pem     the authority's certificate, for users to trust
    tls/ca.key     its key (0600)
    tls/site.pem   key and chain of the wildcard certificate, in one file so that they change together (0600)
    tls/site.json  what site.pem was made for

The authority may only sign for the domain (name constraints), so trusting it risks nothing else.
"""

import asyncio
import hashlib
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from pydantic import BaseModel, ValidationError

from clawstead_proxy_sync.adapters.files import make_directory, write_atomically
from clawstead_proxy_sync.errors import explained
from clawstead_proxy_sync.ports import Certificate, PairFacts

if TYPE_CHECKING:
    from clawstead_proxy_sync.adapters.signing import Pair

log = structlog.get_logger()

RENEW_BEFORE = timedelta(days=30)

_SECRET = 0o600


class _Known(BaseModel):
    """What ``site.pem`` was made for."""

    domain: str
    digest: str
    facts: PairFacts


class LocalAuthority:
    """Makes and renews the wildcard certificate. Keeps ``CertificateSource``."""

    def __init__(self, directory: Path, domain: str) -> None:
        self._directory = directory
        self._domain = domain
        self._authority = directory / "ca.pem"
        self._authority_key = directory / "ca.key"
        self._site = directory / "site.pem"
        self._known = directory / "site.json"
        self._issued = False
        self._making = threading.Lock()

    async def current(self) -> Certificate:
        """See ``CertificateSource.current``."""
        return await asyncio.to_thread(self._current)

    async def obtain(self, *, issue: bool = False, dry_run: bool = False, force: bool = False) -> None:
        """See ``CertificateSource.obtain``. A first one or one that is due is made by ``current`` at once."""
        del issue
        await asyncio.to_thread(self._made, anew=force and not dry_run)

    def _current(self) -> Certificate:
        try:
            return self._made()
        except OSError as error:
            stored = self._stored()
            if stored is None:
                raise
            log.warning("the certificate is not renewed", error=explained(error), expires_at=str(stored.expires_at))
            return stored

    def _made(self, *, anew: bool = False) -> Certificate:
        with self._making:
            certificate = None if anew else self._valid()
            if certificate is None:
                self._issue()
                certificate = self._valid()
                if certificate is None:
                    raise OSError(f"the certificate in {self._directory} cannot be read back")
                log.info("certificate issued", domain=self._domain, expires_at=certificate.expires_at.isoformat())
            self._issued = True
            return certificate

    def _stored(self) -> Certificate | None:
        # Whatever its dates: visitors can look at an expired one, and at none they cannot.
        from clawstead_proxy_sync.certificates import pair  # noqa: PLC0415 - see there

        try:
            content = self._site.read_bytes()
            facts = pair.judge(content, self._domain, now=None)
        except (OSError, pair.UnusablePairError):
            return None
        digest = hashlib.sha256(content).hexdigest()
        return Certificate(self._site, self._site, digest, facts, local=True, overdue=True)

    def _valid(self) -> Certificate | None:
        try:
            known = _Known.model_validate_json(self._known.read_bytes())
            digest = _digest(self._site.read_bytes(), self._authority.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        facts = known.facts
        if (known.domain, known.digest) != (self._domain, digest) or facts.not_after - datetime.now(UTC) < RENEW_BEFORE:
            return None
        return Certificate(self._site, self._site, digest, facts, local=True)

    def _issue(self) -> None:
        from clawstead_proxy_sync.adapters import signing  # noqa: PLC0415 - see there
        from clawstead_proxy_sync.certificates import pair  # noqa: PLC0415 - see there

        make_directory(self._directory, mode=0o755)
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
        digest = _digest(content, authority.certificate_pem)
        known = _Known(domain=self._domain, digest=digest, facts=pair.facts_of(leaf.certificate))
        # Before what it is about: were it missing afterwards, every look would make, and serve, yet another.
        write_atomically(self._known, known.model_dump_json().encode())
        write_atomically(self._site, content, mode=_SECRET)

    def _stored_authority(self) -> "Pair | None":
        from clawstead_proxy_sync.adapters import signing  # noqa: PLC0415 - see there

        try:
            return signing.load(self._authority.read_bytes(), self._authority_key.read_bytes())
        except (FileNotFoundError, ValueError):
            return None


def _digest(site: bytes, authority: bytes) -> str:
    # The authority counts in: after it was lost, users could not trust what it once signed.
    return hashlib.sha256(site + authority).hexdigest()
