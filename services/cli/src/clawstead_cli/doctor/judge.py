"""From facts to findings. Pure."""

from collections.abc import Callable, Iterator

from clawstead_cli.doctor.bus_checks import bus_findings
from clawstead_cli.doctor.certificate_checks import certificate_findings
from clawstead_cli.doctor.container_checks import container_findings
from clawstead_cli.doctor.edge_checks import edge_findings
from clawstead_cli.doctor.facts import Facts, Finding, Severity
from clawstead_cli.doctor.file_checks import file_findings
from clawstead_cli.doctor.fleet_checks import fleet_findings
from clawstead_cli.doctor.host_checks import host_findings
from clawstead_cli.overview import Part

PARTS = {
    "engine": "the containers",
    "bus": "the bus",
    "files": "the files",
    "certificate": "the certificate on disk",
    "served": "the certificate that is served",
    "report": "what proxy-sync says of the certificate",
    "edge_waits": "what proxy-sync says of the edge",
    "system_edge": "the edge in the machine's nginx",
    "disks": "the disks",
    "outbox": "the outbox",
}
"""Fields of ``Facts`` that may be unread, and what they are called."""

CHECKS: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    container_findings,
    fleet_findings,
    file_findings,
    host_findings,
    certificate_findings,
    edge_findings,
    bus_findings,
)


def judge(facts: Facts) -> list[Finding]:
    """Return everything that is not as it should be, the worst first."""
    found = [*_unread(facts), *(finding for check in CHECKS for finding in check(facts))]
    return sorted(found, key=lambda finding: list(Severity).index(finding.severity))


def _unread(facts: Facts) -> Iterator[Finding]:
    for name, told in PARTS.items():
        part: Part[object] = getattr(facts, name)
        if part.unread:
            why = "what cannot be seen may be broken"
            todo = "make it reachable, and look again"
            yield Finding("could not look", Severity.WARNING, told, part.unread, why, todo)
