"""The bus as it is declared: looked at every few seconds, put back, and operators told what was done."""

import structlog
from prometheus_client import Counter, Gauge

from clawstead_keeper.ports import Bus
from clawstead_shared.messaging.noticeboard import Noticeboard
from clawstead_shared.notices import Notice, NoticeKind
from clawstead_shared.topology import Change

log = structlog.get_logger()

REPAIRED = Counter("clawstead_keeper_repairs_total", "Streams, consumers and buckets put back", ["kind", "name"])
REFUSED = Gauge("clawstead_keeper_refused", "Streams, consumers and buckets that the server will not put back")

_DONE = {
    "created": "{kind} {name} was missing and was created{loss}",
    "repaired": "{kind} {name} was altered and was put back: {differences}",
    "made anew": "{kind} {name} was altered in a way that cannot be updated, and was made anew: {differences}. Its "
    "service is given the whole log again; events that it knows change nothing",
}
_LOSS = {
    "stream": ", empty: what it held is lost, see docs/runbooks/bus.md",
    "bucket": ", empty: what it held is lost, see docs/runbooks/bus.md",
    "consumer": ": its service is given the whole log again; events that it knows change nothing",
}


class Repairs:
    """Puts back what was deleted or altered."""

    def __init__(self, bus: Bus, noticeboard: Noticeboard) -> None:
        self._bus = bus
        self._noticeboard = noticeboard
        self._first = True
        self._refused: set[Change] = set()

    async def round(self) -> None:
        """Look at everything once. What the first round makes is a new installation or version, and no repair.

        Raises:
            TransientError: the bus did not answer; what was done before is told.
        """
        refused: set[Change] = set()
        async for change in self._bus.apply():
            if change.outcome == "refused":
                refused.add(change)
                if change not in self._refused:
                    self._refused.add(change)
                    self._noticeboard.tell(_refusal(change))
            elif change.outcome in _DONE:
                self._report(change)
        self._refused = refused
        REFUSED.set(len(refused))
        self._first = False

    def _report(self, change: Change) -> None:
        if self._first:
            log.info("declared", kind=change.kind, name=change.name, outcome=change.outcome)
            return
        REPAIRED.labels(change.kind, change.name).inc()
        message = _DONE[change.outcome].format(
            kind=change.kind, name=change.name, differences=_listed(change), loss=_LOSS[change.kind]
        )
        self._noticeboard.tell(Notice(kind=NoticeKind.BUS_REPAIRED, about=change.name, message=message))


def _refusal(change: Change) -> Notice:
    differs = _listed(change)
    message = (
        f"{change.kind} {change.name} differs ({differs}), and the server refuses to put it back: {change.error}"
        if differs
        else f"{change.kind} {change.name} is missing, and the server refuses to create it: {change.error}"
    )
    return Notice(kind=NoticeKind.BUS_REFUSED, about=change.name, message=message)


def _listed(change: Change) -> str:
    return "; ".join(change.differences)
