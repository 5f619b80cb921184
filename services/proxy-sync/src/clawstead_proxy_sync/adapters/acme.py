"""A certificate from a public authority, by certbot; the local authority's until the first one is issued."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import structlog

from clawstead_proxy_sync.adapters import credentials
from clawstead_proxy_sync.adapters.certbot import Certbot
from clawstead_proxy_sync.adapters.pair_file import PairFile
from clawstead_proxy_sync.certificates.failures import CertificateError, Reason
from clawstead_proxy_sync.certificates.order import Command, Order
from clawstead_proxy_sync.errors import explained
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
        self._adopting = asyncio.Lock()
        self._judged: int | None = None
        self._served = PairFile(folder / "served.pem", order.domain)

    async def current(self) -> Certificate:
        """See ``CertificateSource.current``."""
        try:
            await self._adopt_joined()
        except OSError as error:
            log.warning("a certificate is not taken over yet", error=explained(error))
        return await asyncio.to_thread(self._served.read) or await self._until_issued.current()

    async def obtain(self, *, issue: bool = False, dry_run: bool = False, force: bool = False) -> None:
        """See ``CertificateSource.obtain``."""
        if self._token and self._order.credentials:
            await asyncio.to_thread(credentials.store_token, self._order.credentials, self._token)
        command = Command.RENEW if self._certbot.ordered and not issue else Command.CERTONLY
        await self._certbot.run(command, dry_run=dry_run, force=force)
        if not dry_run:
            await self._adopt(await asyncio.to_thread(self._certbot.obtained))

    async def _adopt_joined(self) -> None:
        # An earlier certbot may have outlived an earlier proxy-sync, and got one.
        stamp = await asyncio.to_thread(self._certbot.stamp)
        if stamp == self._judged:
            return
        try:
            await self._adopt(await asyncio.to_thread(self._certbot.joined))
        except CertificateError as error:
            log.error("a certificate is left alone", reason=error.reason, error=str(error))  # noqa: TRY400
        self._judged = stamp

    async def _adopt(self, content: bytes | None) -> None:
        """Serve what certbot got, if that is another and good.

        Raises:
            CertificateError: it is not good.
        """
        if content is not None:
            async with self._adopting:
                await asyncio.to_thread(self._judge_and_store, content)

    def _judge_and_store(self, content: bytes) -> None:
        from clawstead_proxy_sync.certificates import pair  # noqa: PLC0415 - see there

        served = self._served.read()
        if served and served.chain.read_bytes() == content:
            return
        try:
            facts = pair.judge(content, self._order.domain, now=datetime.now(UTC))
            if served and facts.not_before < served.facts.not_before:
                raise pair.UnusablePairError("it is older than what is served")
            self._served.replace(content, facts)
        except pair.UnusablePairError as error:
            raise CertificateError(Reason.UNUSABLE, f"what certbot got cannot be served: {error}") from error
        log.info("certificate stored", domain=self._order.domain, serial=facts.serial, expires_at=str(facts.not_after))
