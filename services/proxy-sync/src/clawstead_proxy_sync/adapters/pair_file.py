"""A served certificate on disk: key and chain in one file (0600), and beside it what the chain says of itself."""

import hashlib
import ssl
from pathlib import Path

import structlog
from pydantic import BaseModel, ValidationError

from clawstead_proxy_sync.adapters.files import install, write_atomically, write_durably
from clawstead_proxy_sync.ports import Certificate, PairFacts

log = structlog.get_logger()

_SECRET = 0o600


class _Known(BaseModel):
    """What was found out about a file, so that it need not be parsed at every look."""

    digest: str
    domain: str
    facts: PairFacts


class PairFile:
    """The last good pair for ``domain``."""

    def __init__(self, path: Path, domain: str) -> None:
        self._path = path
        self._known = path.with_suffix(".json")
        self._domain = domain

    def read(self) -> Certificate | None:
        """Return the pair, None if there is none that could be served; one that has expired still is.

        Raises:
            OSError: it cannot be read.
        """
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        digest = hashlib.sha256(content).hexdigest()
        facts = self._remembered(digest) or self._read_again(content, digest)
        return Certificate(self._path, self._path, digest, facts) if facts else None

    def replace(self, content: bytes, facts: PairFacts) -> None:
        """Put a pair that was judged in the place of the last.

        Raises:
            UnusablePairError: TLS does not take it.
            OSError: it could not be stored; the last one stays.
        """
        from clawstead_proxy_sync.certificates.pair import UnusablePairError  # noqa: PLC0415 - see there

        candidate = self._path.with_suffix(".new")
        write_durably(candidate, content, mode=_SECRET)
        try:
            # A file that nginx refuses would hold up every reload for routes.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(candidate)
        except ssl.SSLError as error:
            candidate.unlink(missing_ok=True)
            raise UnusablePairError(f"TLS does not take it: {error}") from error
        install(candidate, self._path)
        self._remember(hashlib.sha256(content).hexdigest(), facts)

    def _remembered(self, digest: str) -> PairFacts | None:
        try:
            known = _Known.model_validate_json(self._known.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        return known.facts if (known.digest, known.domain) == (digest, self._domain) else None

    def _read_again(self, content: bytes, digest: str) -> PairFacts | None:
        from clawstead_proxy_sync.certificates import pair  # noqa: PLC0415 - see there

        try:
            facts = pair.judge(content, self._domain, now=None)
        except pair.UnusablePairError as error:
            log.error("a stored certificate cannot be used", path=str(self._path), error=str(error))  # noqa: TRY400
            return None
        self._remember(digest, facts)
        return facts

    def _remember(self, digest: str, facts: PairFacts) -> None:
        known = _Known(digest=digest, domain=self._domain, facts=facts)
        try:
            write_atomically(self._known, known.model_dump_json().encode())
        except OSError as error:
            log.warning("a certificate will be parsed again", path=str(self._known), error=str(error))
