"""The open sessions of this gateway: how many, where, and the way to end those whose instance goes away."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import Gauge

from clawstead_shared.events import Observed, Phase
from clawstead_terminal.errors import Close, RefusedError

SESSIONS = Gauge("clawstead_terminal_sessions", "Open terminal sessions")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a session ends: ``reason`` for the record, the rest for the client."""

    reason: str
    close: Close = Close.NORMAL
    message: str = ""
    """Shown to the client; empty when it needs no explanation."""
    exit_code: int | None = None
    exited: bool = False
    """Whether the shell ended by itself."""


class SessionHandle:
    """By which others end a session."""

    def __init__(self, instance_id: str, container_id: str) -> None:
        self.instance_id = instance_id
        self.container_id = container_id
        self.ending: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def end(self, outcome: Outcome) -> None:
        """End the session; the first call decides."""
        if not self.ending.done():
            self.ending.set_result(outcome)


class Admission:
    """A bound on what is under way per instance."""

    def __init__(self, per_instance: int, what: str) -> None:
        self._per_instance = per_instance
        self._what = what
        self._taken: Counter[str] = Counter()

    @contextlib.contextmanager
    def admitted(self, instance_id: str) -> Iterator[None]:
        """Hold one place while the block runs.

        Raises:
            RefusedError: all places of the instance are taken.
        """
        if self._taken[instance_id] >= self._per_instance:
            raise RefusedError(Close.TOO_MANY_SESSIONS, "too_many_sessions", f"the instance has too many {self._what}")
        self._taken[instance_id] += 1
        try:
            yield
        finally:
            self._taken[instance_id] -= 1
            self._taken += Counter()  # drops what reached zero


class Sessions:
    """All open sessions."""

    def __init__(self) -> None:
        self._open: dict[str, set[SessionHandle]] = {}
        SESSIONS.set_function(lambda: sum(map(len, self._open.values())))

    @contextlib.contextmanager
    def holding(self, handle: SessionHandle) -> Iterator[None]:
        """Have ``handle`` count as open while the block runs."""
        self._open.setdefault(handle.instance_id, set()).add(handle)
        try:
            yield
        finally:
            handles = self._open[handle.instance_id]
            handles.discard(handle)
            if not handles:
                del self._open[handle.instance_id]

    def count(self, instance_id: str) -> int:
        """Return how many sessions one instance has here."""
        return len(self._open.get(instance_id, ()))

    @property
    def instances(self) -> list[str]:
        """The instances that have sessions here."""
        return list(self._open)

    def on_observed(self, observed: Observed) -> None:
        """End the sessions that cannot go on, given what an instance is now."""
        for handle in self._open.get(observed.instance_id, set()).copy():
            if observed.phase is not Phase.RUNNING:
                reason, message = f"instance_{observed.phase}", f"the instance is {observed.phase} now"
            elif observed.container_id != handle.container_id:
                reason, message = "instance_replaced", "the instance runs in a new container now"
            else:
                continue
            handle.end(Outcome(reason, Close.NOT_RUNNING, message))

    def end_all(self, outcome: Outcome) -> None:
        """End every session."""
        for handles in self._open.values():
            for handle in handles:
                handle.end(outcome)
