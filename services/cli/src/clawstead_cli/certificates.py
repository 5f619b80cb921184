"""Asking proxy-sync about the edge's certificate, or for another."""

from clawstead_cli.adapters.jetstream import connected_client
from clawstead_cli.asking import ask_service
from clawstead_cli.deadline import Deadline
from clawstead_cli.programs import Service
from clawstead_cli.settings import BusAddress
from clawstead_shared.control import CertificateReport, CertificateRequest, Verb

_CONNECT_SECONDS = 10.0


async def ask_for_certificate(
    bus: BusAddress, request: CertificateRequest, *, timeout: float, connecting: float = _CONNECT_SECONDS
) -> CertificateReport:
    """Have proxy-sync tell, issue or renew. ``timeout`` in seconds: an order takes as long as the authority takes.

    Raises:
        CommandError: it refuses.
        UnreachableError: it does not run, or did not answer in time.
    """
    async with connected_client(bus, Deadline.after(connecting)) as client:
        return await ask_service(
            client, Service.PROXY_SYNC, Verb.CERTIFICATE, request, CertificateReport, timeout=timeout
        )
