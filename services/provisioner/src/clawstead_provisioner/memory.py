"""What the provisioner remembers of an instance between two looks at it. Losing it costs time, not truth."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from clawstead_provisioner.ports import Container
from clawstead_provisioner.versions import Trial
from clawstead_shared.events import Desired, ExitCause, ImageVersion, Observed, Phase

RESTARTS_ALLOWED = 5
RESTART_WINDOW_SECONDS = 600
_SIGKILL_CODE = 137
_OOM_BEFORE_END = timedelta(seconds=10)
_FIRST_RETRY_SECONDS = 15.0
_LONGEST_RETRY_SECONDS = 600.0


@dataclass
class Memory:
    """One instance. Container ids name the start that a mark is about."""

    clock: Callable[[], float] = time.monotonic
    last: Observed | None = None
    """What was published last; None if nothing ever was."""
    loaded: bool = False
    """Whether ``last`` was read from the bus."""
    unsaid: bool = False
    """The log that ``last`` was written to was lost, so it has to be said again."""
    exit: ExitCause | None = None
    """How the container ended last, as an engine event told; None once that was dealt with."""
    ends: int = 0
    """How often it ended since that was dealt with: the engine may restart it faster than we look."""
    out_of_memory_at: datetime | None = None
    """When the engine told that a process of the container was killed for its memory."""
    ready: str | None = None
    overdue: str | None = None
    stopping: str | None = None
    restarts: deque[float] = field(default_factory=deque)
    """When it was started again although nobody asked for that."""
    adjusted: tuple[str, int] | None = None
    """Container and generation whose files and limits are as they should be; None if that is not known."""
    prepared: tuple[str, Desired] | None = None
    """The container whose files were written for a start that waits for its turn, and what they were made from."""
    missing_secrets: int = 0
    resolved: ImageVersion | None = None
    """The image that was fetched last for it, and what that is."""
    trial: Trial | None = None
    """The update that is not confirmed."""
    trial_known: bool = False
    """Whether ``trial`` was read from the disk."""
    _probation: tuple[tuple[str, datetime | None], float] | None = None
    said_at: float = 0
    """When the phase of ``last`` was said first, on ``clock``."""
    _started_at: datetime | None = None
    _failures: int = 0
    _held_generation: int = 0
    _held_until: float = 0

    def begin_start(self) -> None:
        """Drop the marks of the previous start: a new one begins now."""
        self._started_at = datetime.now(UTC)
        self.end_noted()
        self.ready = self.overdue = None

    def note_end(self, at: datetime, code: int) -> bool:
        """Take note of an engine event: the container ended. False when that was an earlier start's end.

        Events come late: the end that we asked for may be told when the next start is under way.
        """
        known = self.last.started_at if self.last else None
        begun = max((moment for moment in (self._started_at, known) if moment), default=None)
        if begun is not None and at <= begun:
            return False
        killed = self.out_of_memory_at
        oom = code == _SIGKILL_CODE and killed is not None and at - killed < _OOM_BEFORE_END
        self.exit = ExitCause(code=code, oom_killed=oom, finished_at=at)
        self.ends += 1
        self.ready = self.overdue = None
        return True

    def phase_age(self) -> float:
        """Return the seconds since the phase was said that was said last."""
        return self.clock() - self.said_at

    def end_noted(self) -> None:
        """Drop the end of a start: it was dealt with."""
        self.exit = self.out_of_memory_at = None
        self.ends = 0

    def count_restarts(self, number: int) -> None:
        """Remember starts that nobody asked for."""
        self.restarts.extend([self.clock()] * number)

    def restarts_within_window(self) -> int:
        """Return how often it was started again lately, the last end not counted."""
        while self.restarts and self.restarts[0] < self.clock() - RESTART_WINDOW_SECONDS:
            self.restarts.popleft()
        return len(self.restarts) + max(self.ends - 1, 0)

    def serve_on_trial(self, container: Container, seconds: float) -> float:
        """Return for how long a start must go on serving yet, counted from the first call for it."""
        start = (container.id, container.started_at)
        if self._probation is None or self._probation[0] != start:
            self._probation = (start, self.clock())
        return max(self._probation[1] + seconds - self.clock(), 0)

    def proven(self, container: Container, seconds: float) -> bool:
        """Say whether a start has served on trial for long enough."""
        known = self._probation is not None and self._probation[0] == (container.id, container.started_at)
        return known and self.serve_on_trial(container, seconds) == 0

    def hold(self, generation: int) -> float:
        """Remember that a generation failed; return the seconds until it may be tried again."""
        delay: float = min(_FIRST_RETRY_SECONDS * 2**self._failures, _LONGEST_RETRY_SECONDS)
        self._failures += 1
        self._held_generation, self._held_until = generation, self.clock() + delay
        return delay

    def held(self, generation: int) -> bool:
        """Say whether a generation failed and its next attempt is not due."""
        return generation == self._held_generation and self.clock() < self._held_until

    def succeeded(self) -> None:
        """Forget past failures."""
        self._failures = self._held_generation = self.missing_secrets = 0

    def expects(self, generation: int) -> None:
        """Give a generation that was never tried a fresh start."""
        if self.last is None or generation > self.last.generation:
            self.restarts.clear()
            self._failures = 0
            if self.last is not None and self.last.phase is Phase.FAILED:
                self.end_noted()
