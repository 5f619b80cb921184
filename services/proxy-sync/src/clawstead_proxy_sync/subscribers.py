"""What proxy-sync listens to."""

from functools import partial

from clawstead_proxy_sync.certificates.keeper import CertificateKeeper
from clawstead_proxy_sync.handlers import foresee, on_observed
from clawstead_proxy_sync.reconcile import RouteKeeper
from clawstead_shared.control import CertificateReport, CertificateRequest, RebuildReport, Verb
from clawstead_shared.messaging import Bus
from clawstead_shared.streams import PROXY_SYNC
from clawstead_shared.subjects import Topic


def subscribe(bus: Bus, keeper: RouteKeeper) -> None:
    """Have observations followed, and operators answered."""
    bus.consume(PROXY_SYNC, {Topic.OBSERVED: partial(on_observed, keeper=keeper)}, plan=partial(foresee, keeper=keeper))

    async def rebuild(_: bytes) -> RebuildReport:
        return await keeper.rebuild()

    bus.control.answer(Verb.REBUILD, rebuild)


def answer_for(certificates: CertificateKeeper, bus: Bus) -> None:
    """Have operators answered who ask for the certificate."""

    async def certificate(body: bytes) -> CertificateReport:
        return await certificates.answer(CertificateRequest.model_validate_json(body or b"{}"))

    # At once: whoever asks while a certificate is ordered, which takes minutes, is told so.
    bus.control.answer(Verb.CERTIFICATE, certificate, at_once=True)
