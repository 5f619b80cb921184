"""How many gateways may start at once. A start is bound by the CPU: more at once only make each one slower."""

from collections import OrderedDict
from collections.abc import Callable

from prometheus_client import Gauge

BOOTS = Gauge("clawstead_boots", "Gateways that start now (booting), or wait for that (waiting)", ["state"])


class BootSlots:
    """First come, first served; an instance has one slot or one place in the line.

    A place is kept only while its owner says so at each look (``settle``), so one that is deleted, stopped or
    fails in the meantime can neither hold a slot nor the line.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken: set[str] = set()
        self._waiting: OrderedDict[str, Callable[[], None]] = OrderedDict()

    def take(self, instance_id: str, called: Callable[[], None]) -> bool:
        """Take a slot, or a place in the line: then ``called`` tells when a slot is the instance's."""
        if instance_id not in self._taken:
            if len(self._taken) >= self._most or (self._waiting and instance_id not in self._waiting):
                self._waiting[instance_id] = called
                self._show()
                return False
            self.hold(instance_id)
        return True

    def hold(self, instance_id: str) -> None:
        """Count a start that is under way already, whether or not there is room for it."""
        self._waiting.pop(instance_id, None)
        self._taken.add(instance_id)
        self._show()

    def waits(self, instance_id: str) -> bool:
        """Say whether the instance has a place in the line."""
        return instance_id in self._waiting

    def release(self, instance_id: str) -> None:
        """Give up the instance's slot or place, if it has one, and call who is next."""
        self._waiting.pop(instance_id, None)
        self._taken.discard(instance_id)
        while self._waiting and len(self._taken) < self._most:
            following, called = self._waiting.popitem(last=False)
            self._taken.add(following)
            called()
        self._show()

    def _show(self) -> None:
        BOOTS.labels("booting").set(len(self._taken))
        BOOTS.labels("waiting").set(len(self._waiting))
