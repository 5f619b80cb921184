"""A certificate from a public authority, by certbot; the local authority's until the first one is issued."""

import asyncio
import contextlib
from datetime import UTC, datetime
from pathlib import Path

import structlog

from clawstead_proxy_sync.adapters import credentials
from clawstead_proxy_sync.adapters.certbot import Certbot
from clawstead_proxy_sync.adapters.pair_file import PairFile
from clawstead_proxy_sync.certificates.failures import CertificateError, Reason
from clawstead_proxy_sync.certificates.order import Command, Order
from clawstead_proxy_sync.ports import Certificate, CertificateSource

log = structlog.get_logger()


class AcmeSource:
    """Keeps ``CertificateSource``. What certbot got is judged before it takes the place of what is served."""

    def __init__(
        self, order: Order, folder: Path, until_issued: CertificateSource, certbot: Certbot, *, token: str | None = None
    ) -> None:
        self._order = order
        self._until_issued = until_issued
        self._certbot = certbot
        self._token = token
        self._served = PairFile(folder / "served.pem", order.domain)

    async def current(self) -> Certificate:
        """See ``CertificateSource.current``."""
        return await asyncio.to_thread(self._served.read) or await self._until_issued.current()

    async def obtain(self, *, issue: bool = False, dry_run: bool = False, force: bool = False) -> None:
        """See ``CertificateSource.obtain``."""
        if self._token and self._order.credentials:
            await asyncio.to_thread(credentials.store_token, self._order.credentials, self._token)
        command = Command.RENEW if self._certbot.ordered and not issue else Command.CERTONLY
        try:
            await self._certbot.run(command, dry_run=dry_run, force=force)
        except CertificateError:
            # An earlier certbot may have outlived an earlier proxy-sync, and got one.
            with contextlib.suppress(CertificateError):
                await self._adopt()
            raise
        await self._adopt()

    async def _adopt(self) -> None:
        """Serve what certbot got, if that is another and good.

        Raises:
            CertificateError: it is not good.
        """
        if content := await self._certbot.obtained():
            await asyncio.to_thread(self._judge_and_store, content)

    def _judge_and_store(self, content: bytes) -> None:
        from clawstead_proxy_sync.certificates import pair  # noqa: PLC0415 - see there

        served = self._served.read()
        if served and served.chain.read_bytes() == content:
            return
        try:
            facts = pair.judge(content, self._order.domain, now=datetime.now(UTC))
        except pair.UnusablePairError as error:
            raise CertificateError(Reason.UNUSABLE, f"what certbot got cannot be served: {error}") from error
        if served and facts.not_before < served.facts.not_before:
            raise CertificateError(Reason.UNUSABLE, "what certbot got is older than what is served")
        self._served.replace(content, facts)
        log.info("certificate stored", domain=self._order.domain, serial=facts.serial, expires_at=str(facts.not_after))
