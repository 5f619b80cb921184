"""Waiting until an instance is what was ordered: judged purely, looked at until a deadline."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from clawstead_cli.adapters.api_http import NotThereError
from clawstead_cli.deadline import Deadline
from clawstead_cli.errors import CommandError, UnreachableError
from clawstead_cli.instance import DELETED, FAILED, Instance

_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked of an instance, and from which generation on it counts."""

    instance_id: str
    goal: str
    """``running``, ``stopped`` or ``deleted``."""
    generation: int


class NotArrivedError(CommandError):
    """An instance did not become what was ordered; ``instance`` is how it was seen last."""

    def __init__(self, message: str, instance: Instance | None, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.instance = instance


def arrived(instance: Instance, order: Order) -> bool:
    """Say whether ``instance`` is what was ordered.

    Raises:
        NotArrivedError: it never will be: it failed, or somebody ordered something else since.
    """
    if instance.generation > order.generation and instance.desired_state != order.goal:
        raise NotArrivedError(
            f"{instance.name} shall be {instance.desired_state} by now: somebody ordered that meanwhile", instance
        )
    if (instance.observed_generation or 0) < order.generation:
        return False
    if instance.phase == FAILED:
        raise NotArrivedError(
            f"{instance.name} failed ({instance.reason}): {instance.message}",
            instance,
            hint=f"`clawstead logs {instance.id}` shows what it said",
        )
    return instance.phase == order.goal and instance.progress is None


def wait(
    look: Callable[[str], Instance],
    order: Order,
    deadline: Deadline,
    moved: Callable[[Instance], None],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Instance | None:
    """Look at the instance until it is what was ordered; None when it is gone. An API that is away is waited for.

    Raises:
        NotArrivedError: it failed, or was not there in time.
        NotThereError: it is gone although it should not be.
        UnreachableError: the API was away when the deadline passed.
    """
    seen: Instance | None = None
    while True:
        away: UnreachableError | None = None
        try:
            seen = look(order.instance_id)
            if arrived(seen, order):
                return seen
            moved(seen)
        except NotThereError:
            if order.goal == DELETED:
                return None
            raise
        except UnreachableError as error:
            away = error
        if deadline.passed:
            raise away or _late(seen, order)
        sleep(min(_POLL_SECONDS, deadline.remaining))


def _late(seen: Instance | None, order: Order) -> CommandError:
    name, now = (seen.name, seen.now) if seen else (order.instance_id, "not seen")
    hint = (seen.stalled_hint if seen else None) or "it goes on without us; --timeout waits longer"
    return NotArrivedError(f"{name} is not {order.goal} in time: {now}", seen, hint=hint)
