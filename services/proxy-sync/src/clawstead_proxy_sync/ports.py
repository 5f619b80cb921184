"""What proxy-sync needs of the world: an edge that serves the table, and a certificate for it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from pydantic import AwareDatetime, BaseModel, ConfigDict

from clawstead_proxy_sync.certificates.schedule import Memory
from clawstead_proxy_sync.nginx_map import Page, RouteMap, Routes, Upstream

Report = Callable[[str | None], None]
"""Told why the edge does not serve, None once it does."""


class Edge(Protocol):
    """The web server in front of all instances.

    A name is served by two things together: its line in the table says where it leads, its gate says
    whether anybody may go there, and which page answers if not. Gates act at once; a table takes about a tenth
    of a second, and single lines act at once where the edge can do that.
    """

    @property
    def served(self) -> RouteMap | None:
        """The table that every worker was seen to serve, None when that is not known."""
        ...

    @property
    def stored(self) -> RouteMap | None:
        """The table that an edge which starts anew would serve, even after a power loss; None when not known."""
        ...

    @property
    def draining(self) -> int:
        """How many processes of earlier tables still hold connections open; 0 where a table makes none."""
        ...

    @property
    def crowded(self) -> bool:
        """Whether they are so many that another table would end the oldest of them."""
        ...

    async def run(self, report: Report) -> None:
        """Keep the edge running until cancelled, adopting one that is already there, then end it."""
        ...

    async def up(self) -> None:
        """Wait until the edge runs; no deadline, for ``run`` keeps trying and reports."""
        ...

    async def publish(self, routes: Routes) -> RouteMap:
        """Replace the table and return it once every worker serves it. Existing connections stay open.

        Raises:
            EdgeRefusedError: the new table was refused; the last good one is served.
            EdgeUnavailableError: the edge is not running, or did not take the table over in time.
        """
        ...

    async def lead(self, label: str, upstream: Upstream | None) -> bool:
        """Change one line at once, where the edge can: say whether every worker has it now.

        If not, the next published table has to bring it. What was changed at once is served, and not stored until
        then; a table that was asked for earlier does not take it back. Done already is success.

        Raises:
            UnroutableError: nobody may have that name.
        """
        ...

    async def intact(self) -> bool:
        """Say whether the stored table is still what was published, and not edited or cut short."""
        ...

    async def repair(self) -> None:
        """Put back folders, pages, configuration and table that somebody changed or removed. Intact is success.

        Raises:
            EdgeRefusedError: nginx refuses the configuration.
            OSError: the files cannot be written.
        """
        ...

    def open_gate(self, label: str) -> None:
        """Let requests for ``label`` through, at once. Already open is success.

        Raises:
            EdgeUnavailableError: the disk is full, or cannot be written.
        """
        ...

    def close_gate(self, label: str, page: Page | None = None) -> None:
        """Let no new request for ``label`` through, at once, and have ``page`` answer. Already so is success.

        Without a page it is a name that nobody has.

        Raises:
            EdgeUnavailableError: the disk cannot be written.
        """
        ...

    def open_gates(self) -> set[str]:
        """Return the labels whose gates are open."""
        ...

    def pages(self) -> dict[str, Page]:
        """Return what answers at closed gates, by label. It may name labels whose gates are open, too."""
        ...


class PairFacts(BaseModel):
    """What a certificate says of itself. ``serial`` in hex digits, ``fingerprint`` is SHA-256 of its DER form."""

    model_config = ConfigDict(frozen=True)

    serial: str
    fingerprint: str
    names: tuple[str, ...]
    issuer: str
    not_before: AwareDatetime
    not_after: AwareDatetime


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate chain with its key. ``digest`` changes when either does."""

    chain: Path
    key: Path
    digest: str
    facts: PairFacts
    local: bool = False
    """Whether the installation's own authority made it, and not the one that was asked for."""
    overdue: bool = False
    """Whether another should be in its place by now, which could not be stored."""

    @property
    def expires_at(self) -> datetime:
        """When it ends (UTC)."""
        return self.facts.not_after


class CertificateSource(Protocol):
    """Where the wildcard certificate of the domain comes from."""

    async def current(self) -> Certificate:
        """Return the certificate to serve now: for the domain and its subdomains.

        Always the last good one; a local authority makes one when there is none or it is due, and while that
        cannot be stored the last one is ``overdue``.

        Raises:
            OSError: there is none, and none can be read or stored.
        """
        ...

    async def obtain(self, *, issue: bool = False, dry_run: bool = False, force: bool = False) -> None:
        """Have ``current`` be a new certificate if one is due. Not due is success.

        ``issue`` orders by today's settings even what was ordered before, ``dry_run`` changes nothing that
        is served, ``force`` gets one that is not due. May take minutes; one call at a time.

        Raises:
            CertificateError: none could be got; ``current`` is what it was.
            OSError: it cannot be read or stored.
        """
        ...


class Recollection(Protocol):
    """What is remembered of orders, over restarts."""

    def load(self) -> Memory:
        """Return what was stored last; an empty memory if that is lost or damaged."""
        ...

    def store(self, memory: Memory) -> None:
        """Remember. What cannot be stored is only logged: it is still known to this process."""
        ...


class Visitor(Protocol):
    """Somebody who comes to the HTTPS port as a browser would."""

    async def fingerprint(self) -> str | None:
        """Return that of the certificate that the domain's visitors are shown, None if nobody answers."""
        ...
