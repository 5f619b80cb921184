"""Engine objects that carry our installation's label although they cannot be ours: left alone, and reported."""

from typing import Any

import structlog
from prometheus_client import Gauge

from clawstead_provisioner.adapters.docker_objects import names_of

log = structlog.get_logger()

STRANGERS = Gauge("clawstead_engine_strangers", "Containers and networks with our label, but of no instance of ours")


class Strangers:
    """Those that were reported."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def report(self, listed: list[dict[str, Any]], ours: list[dict[str, Any]]) -> None:
        """Log each one once."""
        mine = {document["Id"] for document in ours}
        strange = {document["Id"]: names_of(document) for document in listed if document["Id"] not in mine}
        for name in strange.keys() - self._known:
            log.warning("left alone: our label, but not named after an instance", id=name[:12], names=strange[name])
        self._known = set(strange)
        STRANGERS.set(len(strange))
