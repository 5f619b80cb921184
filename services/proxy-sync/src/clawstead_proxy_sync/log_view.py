"""What the log says of all routes at once, and what tells two states of the edge apart: pure."""

import hashlib
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from typing import cast

from clawstead_proxy_sync import nginx_map
from clawstead_proxy_sync.errors import UnroutableError
from clawstead_proxy_sync.nginx_map import Page, RouteMap, Routes
from clawstead_proxy_sync.routing import Claim, Kept, RouteTable, claim_of
from clawstead_shared.control import Effect
from clawstead_shared.events import Event, Observed
from clawstead_shared.messaging import EventReader
from clawstead_shared.messaging.control import RefusedError
from clawstead_shared.subjects import Topic

_GREATEST_LOSS = 0.2
"""The share of served routes that a log may know nothing of before it is not believed."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The observation that an instance's claim was made from."""

    id: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Word:
    """What the edge needs of an instance's newest observation. The event is ten times as large, thousands of times."""

    instance_id: str
    generation: int
    subdomain: str
    seen: Seen
    claim: Claim | None
    refusal: str | None
    """Why its name or address must not reach the table."""

    @classmethod
    def of(cls, event: Event[Observed]) -> "Word":
        """Return what there is to know of an observation that was read from the log."""
        claim, refusal = None, None
        try:
            claim = claim_of(event.data)
        except UnroutableError as error:
            refusal = str(error)
        seen = Seen(event.id, event.sequence or 0)
        return cls(event.instance_id, event.data.generation, event.data.subdomain, seen, claim, refusal)


Words = Mapping[str, Word]
"""What the log says of every instance, by instance."""


async def words(events: EventReader) -> dict[str, Word]:
    """Read what the log says of every instance.

    Raises:
        TransientError: the bus did not answer.
    """
    newest = events.each_newest(Topic.OBSERVED)
    return {event.instance_id: Word.of(cast("Event[Observed]", event)) async for event in newest}


def claims_of(observed: Words) -> dict[str, Claim]:
    """Return the claims of all instances; one that cannot be routed has none."""
    return {instance_id: word.claim for instance_id, word in observed.items() if word.claim is not None}


def catch_up(claims: dict[str, Claim], observed: Words, seen: dict[str, Seen], live: RouteTable) -> None:
    """Put into ``claims``, made of ``observed``, what was handled since that was read; note the rest as ``seen``."""
    newest = max((word.seen.sequence for word in observed.values()), default=0)
    handled = {name for name, it in seen.items() if it.sequence > (_sequence(observed, name) or newest)}
    for instance_id in handled:
        claims.pop(instance_id, None)
        if (claim := live.get(instance_id)) is not None:
            claims[instance_id] = claim
    seen.update({name: word.seen for name, word in observed.items() if name not in handled})


def unknown_lines(observed: Words, lines: Routes, gates: Set[str], pages: Mapping[str, Page]) -> dict[str, Kept]:
    """Return those of the ``lines`` that are served of which no observation tells anything."""
    unknown = _unknown(observed, lines.keys())
    return {label: Kept(lines[label], label in gates, pages.get(label, Page.STARTING)) for label in unknown}


def check_loss(observed: Words, served: Set[str]) -> None:
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


def _unknown(observed: Words, labels: Set[str]) -> set[str]:
    return set(labels) - {word.subdomain for word in observed.values()}


def _sequence(observed: Words, instance_id: str) -> int:
    word = observed.get(instance_id)
    return word.seen.sequence if word is not None else 0
