"""Which host port an instance has: one for its whole life, from our range, free when it was chosen."""

import errno
import hashlib
import socket
import time
from collections.abc import Callable, Iterator

from clawstead_provisioner.errors import ProvisioningError
from clawstead_shared.events import Reason

_BARRED_SECONDS = 600
"""How long a port that something foreign was seen on is left alone."""


def candidates(instance_id: str, first: int, last: int) -> Iterator[int]:
    """Yield every port of the range (both ends included) once, from where the id's hash points."""
    size = last - first + 1
    start = int.from_bytes(hashlib.sha256(instance_id.encode()).digest()[:8], "big") % size
    for step in range(size):
        yield first + (start + step) % size


def is_free(host: str, port: int) -> bool:
    """Say whether nothing listens on the port right now."""
    with socket.socket() as probe:
        # Connections that linger after their end are no reason to avoid a port; listeners are.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return True


class PortTable:
    """The ports of all instances. Rebuilt from container labels and observations; nothing is stored."""

    def __init__(
        self,
        first: int,
        last: int,
        free: Callable[[int], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._first, self._last = first, last
        self._free = free
        self._clock = clock
        self._port_of: dict[str, int] = {}
        self._owner_of: dict[int, str] = {}
        self._barred: dict[int, float] = {}
        self._left: dict[int, set[str]] = {}

    def covers(self, port: int) -> bool:
        """Say whether a port is in the range, which may have been changed since it was given."""
        return self._first <= port <= self._last

    def hold(self, instance_id: str, port: int) -> None:
        """Record that an instance has a port, as its container or its last observation says."""
        if self._port_of.get(instance_id) != port:
            self.leave(instance_id)
        self.let_go(instance_id, port)
        self._port_of[instance_id] = port
        self._owner_of.setdefault(port, instance_id)

    def release(self, instance_id: str) -> None:
        """Give up an instance's port, if it has one."""
        port = self._port_of.pop(instance_id, None)
        if port is not None and self._owner_of.get(port) == instance_id:
            del self._owner_of[port]

    def leave(self, instance_id: str) -> None:
        """Give up an instance's port, if it has one, but hold it back."""
        port = self._port_of.get(instance_id)
        self.release(instance_id)
        if port is not None:
            self.hold_back(instance_id, port)

    def hold_back(self, instance_id: str, port: int) -> None:
        """Give a port to nobody but an instance that had it once, until ``let_go``; who has it now keeps it."""
        if self._port_of.get(instance_id) != port:
            self._left.setdefault(port, set()).add(instance_id)

    def let_go(self, instance_id: str, port: int) -> None:
        """Hold a port back no more for an instance's sake."""
        if port in self._left:
            self._left[port].discard(instance_id)
            if not self._left[port]:
                del self._left[port]

    @property
    def left(self) -> list[tuple[str, int]]:
        """Which instances left which ports that are held back."""
        return [(instance_id, port) for port, names in self._left.items() for instance_id in names]

    @property
    def held_back(self) -> int:
        """How many ports could be given to somebody if they were not held back."""
        return sum(self.covers(port) and port not in self._owner_of for port in self._left)

    def bar(self, instance_id: str) -> None:
        """Give up an instance's port because something foreign is on it, and avoid it for a while."""
        port = self._port_of.get(instance_id)
        self.leave(instance_id)
        if port is not None:
            self._barred[port] = self._clock() + _BARRED_SECONDS

    def allocate(self, instance_id: str) -> int:
        """Return the instance's port: the one it has, else the first free one.

        Raises:
            ProvisioningError: ``ports_exhausted``.
        """
        held = self._port_of.get(instance_id)
        if held is not None and self._usable(held, instance_id):
            return held
        for port in candidates(instance_id, self._first, self._last):
            if self._usable(port, instance_id) and self._vacant(port, instance_id):
                self.hold(instance_id, port)
                return port
        raise ProvisioningError(Reason.PORTS_EXHAUSTED, self._exhausted())

    def _usable(self, port: int, instance_id: str) -> bool:
        barred_until = self._barred.get(port, 0)
        ours = self._owner_of.get(port, instance_id) == instance_id
        return self.covers(port) and self._clock() >= barred_until and ours

    def _vacant(self, port: int, instance_id: str) -> bool:
        return port not in self._owner_of and self._left.get(port, set()) <= {instance_id} and self._free(port)

    def _exhausted(self) -> str:
        message = f"all ports from {self._first} to {self._last} are in use on this host"
        if not self.held_back:
            return message
        return f"{message}, {self.held_back} of them held back: proxy-sync has not closed the routes that lead there"
