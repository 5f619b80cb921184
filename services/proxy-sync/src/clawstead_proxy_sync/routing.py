"""What each instance claims of the edge, and who gets a name that two of them claim: pure.

An instance's claim follows from its newest observation alone, so duplicates and order do not matter.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from clawstead_proxy_sync.nginx_map import Page, Upstream, check_label
from clawstead_shared.events import Observed, Phase

_PAGES = {
    Phase.STOPPING: Page.STOPPED,
    Phase.STOPPED: Page.STOPPED,
    Phase.DELETING: Page.STOPPED,
    Phase.FAILED: Page.FAILED,
}


@dataclass(frozen=True, slots=True)
class Claim:
    """What one instance wants of its name: where it leads, and whether requests may go there now, or what they see."""

    label: str
    """The first label of the instance's hostname."""
    target: Upstream | None
    page: Page = Page.STARTING
    ready: bool = False
    deleting: bool = False

    @property
    def upstream(self) -> Upstream | None:
        """Where requests go, None while they may not."""
        return self.target if self.ready else None


def claim_of(observed: Observed) -> Claim | None:
    """Return what an instance claims, None when it is gone.

    An instance has one port for its whole life, so its line is the same from before its first start to its
    end, and stopping and starting it change no table.

    Raises:
        UnroutableError: its name or address must not reach the table.
    """
    if observed.phase is Phase.REMOVED:
        return None
    check_label(observed.subdomain)
    return Claim(
        label=observed.subdomain,
        target=None if observed.host is None or observed.port is None else Upstream(observed.host, observed.port),
        page=_PAGES.get(observed.phase, Page.STARTING),
        ready=observed.phase is Phase.RUNNING,
        deleting=observed.phase is Phase.DELETING,
    )


@dataclass(frozen=True, slots=True)
class Kept:
    """A line of an earlier table about a name of which the log knows nothing: the log may have lost it."""

    target: Upstream
    ready: bool
    page: Page = Page.STARTING

    @property
    def upstream(self) -> Upstream | None:
        """Where requests go, None while they may not."""
        return self.target if self.ready else None


class RouteTable:
    """The claims of all instances, by instance and by name, and what is kept of an earlier table."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}
        self._by_label: dict[str, tuple[str, ...]] = {}
        self._kept: dict[str, Kept] = {}
        self._kept_at: dict[Upstream, str] = {}
        self._lines: dict[str, Upstream] = {}
        """Follows from the others, and is kept because it is asked for with every event."""

    @property
    def instances(self) -> Set[str]:
        """The instances that claim something."""
        return self._claims.keys()

    @property
    def kept(self) -> Set[str]:
        """The names that are kept of an earlier table."""
        return self._kept.keys()

    def get(self, instance_id: str) -> Claim | None:
        """Return an instance's claim, None if it has none."""
        return self._claims.get(instance_id)

    def put(self, instance_id: str, claim: Claim | None) -> set[str]:
        """Replace an instance's claim; return the labels whose route that may change."""
        touched = set()
        if old := self._claims.pop(instance_id, None):
            touched.add(old.label)
            rivals = self._by_label.pop(old.label)
            if len(rivals) > 1:
                self._by_label[old.label] = tuple(it for it in rivals if it != instance_id)
        if claim:
            touched.add(claim.label)
            self._claims[instance_id] = claim
            self._by_label[claim.label] = (*self._by_label.get(claim.label, ()), instance_id)
            touched |= self._give_way(claim)
        for label in touched:
            self._draw(label)
        return touched

    def replace(self, claims: Mapping[str, Claim]) -> None:
        """Replace everything at once by the claims of all instances."""
        self._claims.clear()
        self._by_label.clear()
        self._kept.clear()
        self._kept_at.clear()
        self._lines.clear()
        for instance_id, claim in claims.items():
            self.put(instance_id, claim)

    def keep(self, lines: Mapping[str, Kept]) -> None:
        """Keep lines of an earlier table, except those whose name or upstream an instance has."""
        taken = {claim.target for claim in self._claims.values()}
        for label, kept in lines.items():
            if label not in self._by_label and kept.target not in taken:
                self._kept[label] = kept
                self._kept_at[kept.target] = label
                self._draw(label)

    def forget(self, label: str) -> set[str]:
        """Drop what is kept of a name, now that the log tells of it; return the labels whose route that changes."""
        kept = self._kept.pop(label, None)
        if kept is None:
            return set()
        self._kept_at.pop(kept.target, None)
        self._draw(label)
        return {label}

    def copy(self) -> "RouteTable":
        """Return a table of its own with the same content."""
        table = RouteTable()
        table.replace(self._claims)
        table.keep(self._kept)
        return table

    def claimants(self, label: str) -> set[str]:
        """Return the instances that claim ``label``."""
        return set(self._by_label.get(label, ()))

    def owner(self, label: str) -> Claim | None:
        """Return the claim that has ``label``: the oldest instance's, unless that one is being deleted.

        The API gives a name to one living instance at a time; should two ever claim it, the newcomer must
        not take it over.
        """
        claims = [self._claims[instance_id] for instance_id in sorted(self._by_label.get(label, ()))]
        return min(claims, key=lambda claim: claim.deleting, default=None)

    def upstream(self, label: str) -> Upstream | None:
        """Return where requests for ``label`` go now, None while they may not."""
        found = self.owner(label) or self._kept.get(label)
        return found.upstream if found else None

    def labels(self) -> list[str]:
        """Return every label that somebody has."""
        return [*self._by_label, *self._kept]

    def line(self, label: str) -> Upstream | None:
        """Return where ``label`` leads, whether or not requests may go there yet."""
        found = self.owner(label) or self._kept.get(label)
        return found.target if found else None

    def page(self, label: str) -> Page | None:
        """Return what visitors of ``label`` see while its gate is closed, None when nobody has that name."""
        found = self.owner(label) or self._kept.get(label)
        return found.page if found else None

    def routes(self) -> dict[str, Upstream]:
        """Return the whole table: where each name leads."""
        return self._lines.copy()

    def _draw(self, label: str) -> None:
        if line := self.line(label):
            self._lines[label] = line
        else:
            self._lines.pop(label, None)

    def _give_way(self, claim: Claim) -> set[str]:
        # A port that another instance has now must not be reached under a name of long ago.
        there = self._kept_at.get(claim.target) if claim.target else None
        return self.forget(claim.label) | (self.forget(there) if there else set())
