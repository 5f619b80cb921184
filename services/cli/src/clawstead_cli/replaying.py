"""A replay: a service handles a stretch of the log again, page by page, and can be interrupted between any two."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from clawstead_cli.errors import CommandError
from clawstead_shared.control import MAX_PAGE, Effect, Failure, ReplayReport, ReplayRequest
from clawstead_shared.ids import InstanceId

_MAX_FAILURES = 1000

AskPage = Callable[[ReplayRequest], Awaitable[ReplayReport]]


class Position(BaseModel):
    """How far a replay is. Everything before ``next`` was asked for and answered."""

    model_config = ConfigDict(extra="ignore")

    service: str
    next: int
    """Sequence where the next page starts."""
    up_to: int
    """Last sequence, inclusive."""
    instance_id: InstanceId | None = None
    total: int
    """Events from beginning to end."""
    read: int = 0
    handled: int = 0
    failed: int = 0
    failures: list[Failure] = Field(default_factory=list)
    """The first of them."""
    begun_at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what an interrupted replay left.

        Raises:
            CommandError: there is nothing, or it cannot be read.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise CommandError("there is no interrupted replay to go on with", hint="leave --resume away") from error
        except (OSError, ValidationError) as error:
            raise CommandError(f"{path} cannot be read", hint="leave --resume away to begin anew") from error

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".new")
        draft.write_text(self.model_dump_json(indent=2))
        draft.replace(path)

    def forget(self, path: Path) -> None:
        """Leave nothing to go on with: it is through."""
        path.unlink(missing_ok=True)

    def took(self, report: ReplayReport) -> None:
        """Count one page."""
        self.read += report.read
        self.handled += report.handled
        self.failed += len(report.failures)
        self.failures += report.failures[: _MAX_FAILURES - len(self.failures)]

    @property
    def left(self) -> int:
        """Events that were not yet asked for."""
        return max(self.total - self.read, 0)


class Watcher(Protocol):
    """Who wants to know how a replay goes."""

    def moved(self, position: Position) -> None:
        """Hear of each page that was answered."""


async def replay(position: Position, ask: AskPage, watcher: Watcher, *, rate: int | None, path: Path) -> None:
    """Have everything from ``position`` on handled, and keep the position in ``path`` until it is through.

    ``rate`` bounds the events per second. What interrupts it leaves the position behind; a page that was asked for
    and not answered is asked for again, which harms nothing: handlers look at the newest state.
    """
    position.save(path)
    while True:
        started = time.monotonic()
        report = await ask(_request(position, dry_run=False, limit=min(rate or MAX_PAGE, MAX_PAGE)))
        position.took(report)
        if report.next is not None:
            position.next = report.next
            position.save(path)
        watcher.moved(position)
        if report.next is None:
            position.forget(path)
            return
        if rate:
            await asyncio.sleep(max(report.read / rate - (time.monotonic() - started), 0))


async def foresee(position: Position, ask: AskPage, watcher: Watcher) -> list[Effect]:
    """Return everything that a replay from ``position`` on would do.

    A page is foreseen as if those before it had not been handled. What an earlier one would do is left out.
    """
    effects: dict[Effect, None] = {}
    found: list[Effect] = []
    while True:
        report = await ask(_request(position, dry_run=True, limit=MAX_PAGE))
        position.took(report)
        found += (effect for effect in report.effects if effect not in effects)
        effects |= dict.fromkeys(report.effects)
        watcher.moved(position)
        if report.next is None:
            return found
        position.next = report.next


def _request(position: Position, *, dry_run: bool, limit: int) -> ReplayRequest:
    return ReplayRequest(
        start=position.next, up_to=position.up_to, instance_id=position.instance_id, limit=limit, dry_run=dry_run
    )
