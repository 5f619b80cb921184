"""What recovery decides about one instance, and how its row becomes what the log says: pure."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from clawstead_api.desires import desired_of
from clawstead_api.tables import Instance
from clawstead_shared.events import Desired
from clawstead_shared.ids import created_at


class Verdict(StrEnum):
    """What is to be done about an instance."""

    NOTHING = "nothing"
    ADOPT = "adopt"
    """The log knows better: the row becomes what it says."""
    REPUBLISH = "republish"
    """The database knows better: the log is told again."""


@dataclass(frozen=True, slots=True)
class Logged:
    """What the log holds of an instance."""

    desired: Desired
    time: datetime
    removed_at: datetime | None = None
    """When it was observed to be removed, as was wanted."""


def decide(ours: Instance | None, logged: Logged | None, *, waiting: bool) -> Verdict:
    """Compare a row with the newest desired state; ``waiting`` says that the outbox holds changes of it.

    The higher generation wins. With the same one the log wins, as others may have acted on it already.
    """
    if logged is None:
        done = ours is None or waiting or ours.removed_at is not None
        return Verdict.NOTHING if done else Verdict.REPUBLISH
    if ours is None or ours.generation < logged.desired.generation:
        return Verdict.ADOPT
    if ours.generation > logged.desired.generation:
        return Verdict.NOTHING if waiting else Verdict.REPUBLISH
    same = _content(desired_of(ours, actor="", request_id=None)) == _content(logged.desired)
    return Verdict.NOTHING if same else Verdict.ADOPT


def _content(desired: Desired) -> Desired:
    return desired.model_copy(update={"actor": "", "request_id": None, "audit": None})


def new_row(desired: Desired) -> Instance:
    """Return the row of an instance that only the log knows, still to be filled by ``take_over``."""
    spec = desired.spec
    return Instance(
        id=desired.instance_id,
        owner_id=spec.owner_id,
        name=spec.name,
        plan=spec.plan,
        subdomain=spec.subdomain,
        desired_state=desired.desired_state.value,
        generation=desired.generation,
        spec={},
        cpus=spec.limits.cpus,
        memory_bytes=spec.limits.memory_bytes,
        secret_revision=1,
        created_at=created_at(desired.instance_id),
    )


def take_over(instance: Instance, desired: Desired, at: datetime, *, default_image: str) -> None:
    """Make a row what ``desired`` says, as of the time ``at``."""
    spec = desired.spec
    if spec.image != instance.spec.get("image"):
        # It is not told whether the owner named it; whoever has another than the default has.
        instance.own_image = None if spec.image == default_image else spec.image
    instance.owner_id, instance.name, instance.plan = spec.owner_id, spec.name, spec.plan
    instance.subdomain = spec.subdomain
    instance.specify(spec)
    instance.desired_state = desired.desired_state.value
    instance.generation = desired.generation
    instance.secret_revision = desired.secrets.revision if desired.secrets else instance.secret_revision
    instance.restart_count = desired.restart.count if desired.restart else 0
    instance.restart_judged_start = desired.restart.judged_start if desired.restart else None
    instance.updated_at = at
    instance.hidden_at = at if desired.force else None
