"""Which containers nobody wants any more, judged so that a doubtful word costs no customer theirs: pure.

Nobody forgets an instance: a deleted one is still wanted deleted. So one that the bus does not know at all was
made by hand, or the bus lost something, and only the first may be removed. What is older than the log was wanted
by an earlier one, which was lost.
"""

import time
from collections.abc import Callable, Set

import structlog
from prometheus_client import Gauge

log = structlog.get_logger()

ORPHANS = Gauge(
    "clawstead_orphans",
    "Containers that no desired state is known of: to be removed after the grace, or kept because too much is missing",
    ["verdict"],
)

_FEW = 3
_GREATEST_LOSS = 0.2


class Orphans:
    """What was seen without a desired state, since when, and what was ever wanted."""

    def __init__(self, *, grace_seconds: float, most_at_once: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._grace = grace_seconds
        self._most = most_at_once
        self._clock = clock
        self._known: set[str] = set()
        self._since: dict[str, float] = {}

    def know(self, instances: Set[str]) -> None:
        """Take note of instances that were wanted once, as what was said of them shows."""
        self._known |= instances

    def judge(self, desired: Set[str], held: Set[str], *, older: Set[str] = frozenset()) -> list[str]:
        """Return whose objects to remove now, a few at most; each was announced by an earlier call.

        ``older`` are those of ``held`` that were made before the log was.
        """
        self.know(desired)
        found = held - desired
        if old := found & older:
            log.error("containers older than the log are kept: have the API resync, or remove them", orphans=len(old))
        if found and (doubt := self._doubt(desired, held)):
            log.error(
                "containers without a desired state are kept: restore the bus or have the API resync",
                why=doubt,
                orphans=len(found),
            )
            self._since.clear()
            self._show(removable=0, kept=len(found))
            return []
        found -= old
        self._show(removable=len(found), kept=len(old))
        now = self._clock()
        due = sorted(name for name, since in self._since.items() if name in found and now - since >= self._grace)
        self._since = {name: self._announced(name, now) for name in found}
        return due[: self._most]

    def _announced(self, name: str, now: float) -> float:
        since = self._since.get(name)
        if since is None:
            log.warning("would remove what nobody wants after the grace", instance_id=name, grace_seconds=self._grace)
        return now if since is None else since

    def _doubt(self, desired: Set[str], held: Set[str]) -> str:
        lost = len(self._known - desired)
        if not desired:
            return "the bus knows of no instance at all"
        if lost > _GREATEST_LOSS * len(self._known):
            return f"the bus lost {lost} of {len(self._known)} instances"
        if len(held - desired) > max(_FEW, len(held) // 2):
            return "they are most of what there is"
        return ""

    @staticmethod
    def _show(*, removable: int, kept: int) -> None:
        ORPHANS.labels("removable").set(removable)
        ORPHANS.labels("kept").set(kept)
