"""Looking at an instance from outside, for ``validate`` and ``test-deploy``."""

from datetime import UTC, datetime
from typing import Protocol

from clawstead_cli.adapters.edge import Answer, Served
from clawstead_cli.instance import Instance
from clawstead_cli.validation import Check, Facts, validate

HEALTH_PATH = "/healthz"


class PublicFace(Protocol):
    """The edge; see ``adapters.edge.Edge``. No call raises, each ends within ten seconds."""

    def certificate(self, url: str) -> Served:
        """Return the certificate that is served."""
        ...

    def get(self, url: str, path: str = "/") -> Answer:
        """Return what is answered."""
        ...


def inspect(instance: Instance, edge: PublicFace) -> list[Check]:
    """Look at one instance from the outside in, and judge it."""
    facts = Facts(
        instance=instance,
        certificate=edge.certificate(instance.url),
        page=edge.get(instance.url),
        gateway=edge.get(instance.url, HEALTH_PATH),
        now=datetime.now(UTC),
    )
    return validate(facts)
