"""What the log says of all routes at once, and what tells two states of the edge apart: pure."""

import hashlib
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from clawstead_proxy_sync import nginx_map
from clawstead_proxy_sync.errors import UnroutableError
from clawstead_proxy_sync.nginx_map import Page, RouteMap, Routes
from clawstead_proxy_sync.routing import Claim, Kept, RouteTable, claim_of
from clawstead_shared.control import Effect
from clawstead_shared.events import Event, Observed
from clawstead_shared.messaging.control import RefusedError

Observations = Mapping[str, Event[Any]]
"""The newest observation of every instance, by instance."""

_GREATEST_LOSS = 0.2
"""The share of served routes that a log may know nothing of before it is not believed."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The observation that an instance's claim was made from."""

    id: str
    sequence: int

    @classmethod
    def of(cls, event: Event[Any]) -> "Seen":
        """Return what to remember of an observation that was read from the log."""
        return cls(event.id, event.sequence or 0)


def claims_of(observed: Observations) -> dict[str, Claim]:
    """Return the claims of all instances; one that cannot be routed has none."""
    found = {}
    for instance_id, event in observed.items():
        try:
            claim = claim_of(observation(event))
        except UnroutableError:
            continue
        if claim is not None:
            found[instance_id] = claim
    return found


def catch_up(claims: dict[str, Claim], observed: Observations, seen: dict[str, Seen], live: RouteTable) -> None:
    """Put into ``claims``, made of ``observed``, what was handled since that was read; note the rest as ``seen``."""
    newest = max((Seen.of(event).sequence for event in observed.values()), default=0)
    handled = {name for name, it in seen.items() if it.sequence > (_sequence(observed, name) or newest)}
    for instance_id in handled:
        claims.pop(instance_id, None)
        if (claim := live.get(instance_id)) is not None:
            claims[instance_id] = claim
    seen.update({name: Seen.of(event) for name, event in observed.items() if name not in handled})


def unknown_lines(observed: Observations, lines: Routes, gates: Set[str], pages: Mapping[str, Page]) -> dict[str, Kept]:
    """Return those of the ``lines`` that are served of which no observation tells anything."""
    unknown = _unknown(observed, lines.keys())
    return {label: Kept(lines[label], label in gates, pages.get(label, Page.STARTING)) for label in unknown}


def check_loss(observed: Observations, served: Set[str]) -> None:
    """Check that the log knows the names that lead somewhere.

    Raises:
        RefusedError: it knows nothing of so many that it must have lost them.
    """
    lost = len(_unknown(observed, served))
    if lost > _GREATEST_LOSS * len(served):
        raise RefusedError(
            f"the log knows nothing of {lost} of {len(served)} routes that are served, and they would end",
            hint="run `clawstead resync` first",
        )


def changes(instance_id: str, before: RouteTable, after: RouteTable, labels: Iterable[str]) -> list[Effect]:
    """Return what it takes to get from one table to the other, as far as ``labels`` go."""
    effects = []
    lines, wanted = before.routes(), after.routes()
    for label in labels:
        if lines.get(label) != wanted.get(label):
            detail = f"{label}: {lines.get(label, 'no line')} -> {wanted.get(label, 'no line')}"
            effects.append(Effect(instance_id=instance_id, action="change route line", detail=detail))
        was, will = before.upstream(label), after.upstream(label)
        if not will and before.page(label) != (page := after.page(label)):
            effects.append(Effect(instance_id=instance_id, action="show page", detail=f"{label}: {page or 'unknown'}"))
        if was and was != will:
            effects.append(Effect(instance_id=instance_id, action="close gate", detail=label))
        if will and was != will:
            effects.append(Effect(instance_id=instance_id, action="open gate", detail=label))
    return effects


def digest_of(routes: Routes, gates: Set[str], pages: Mapping[str, Page], *, intact: bool) -> str:
    """Return what tells the edge's state from another: lines, open gates, pages at closed ones, a whole file."""
    closed = sorted(f"{label} {page}" for label, page in pages.items() if label not in gates)
    parts = [nginx_map.render(RouteMap(0, routes)), *(gate.encode() for gate in (*sorted(gates), *closed))]
    return hashlib.sha256(b"\n".join(parts if intact else [b"damaged", *parts])).hexdigest()


def observation(event: Event[Any]) -> Observed:
    """Return what an event of topic ``observed`` says."""
    assert isinstance(event.data, Observed)
    return event.data


def _unknown(observed: Observations, labels: Set[str]) -> set[str]:
    return set(labels) - {observation(event).subdomain for event in observed.values()}


def _sequence(observed: Observations, instance_id: str) -> int:
    event = observed.get(instance_id)
    return event.sequence or 0 if event is not None else 0
