"""Whether the events of each instance follow on each other. Pure.

desired    Each change has the next generation, so between the oldest that the log holds and the newest none may
           be missing. One that is repeated, or comes late, is fine.
observed   Nothing can be carried out that was never wanted.
"""

from dataclasses import dataclass, field

_MAX_RANGES = 10

Range = tuple[int, int]
"""First and last generation that are missing, both inclusive."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that the log should hold and does not."""

    instance_id: str
    message: str


@dataclass(slots=True)
class _Instance:
    desired: int = 0
    observed: int = 0
    missing: list[Range] = field(default_factory=list)
    told: int = 0
    """Gaps that were told."""
    told_observed: int = 0
    """Newest observation of which was told that it is ahead."""
    wrong_since: float | None = None

    @property
    def ahead(self) -> bool:
        return self.observed > self.desired

    @property
    def wrong(self) -> bool:
        return bool(self.missing) or (self.ahead and self.observed > self.told_observed)


class Gaps:
    """What is known of each living instance: a few numbers."""

    def __init__(self) -> None:
        self._instances: dict[str, _Instance] = {}
        self._wrong: set[str] = set()

    @property
    def open(self) -> int:
        """Gaps that were told, of instances that still live."""
        return sum(instance.told for instance in self._instances.values())

    @property
    def instances(self) -> int:
        """Instances that are remembered."""
        return len(self._instances)

    def desired(self, instance_id: str, generation: int, *, deleted: bool) -> None:
        """Take in the next desired state that the log holds."""
        instance = self._instances.get(instance_id)
        if instance is None:
            if not deleted:  # what is deleted and not known any more was removed
                self._instances[instance_id] = _Instance(desired=generation)
            return
        if instance.desired == 0:
            instance.desired = generation
        elif generation > instance.desired:
            if generation > instance.desired + 1 and len(instance.missing) < _MAX_RANGES:
                instance.missing.append((instance.desired + 1, generation - 1))
            instance.desired = generation
        else:
            instance.missing = _without(instance.missing, generation)
        self._judge(instance_id, instance)

    def observed(self, instance_id: str, generation: int, *, removed: bool) -> None:
        """Take in the next observation that the log holds. The desired states before it are known already."""
        if removed:
            self._instances.pop(instance_id, None)
            self._wrong.discard(instance_id)
            return
        instance = self._instances.setdefault(instance_id, _Instance())
        instance.observed = max(instance.observed, generation)
        self._judge(instance_id, instance)

    def found(self, now: float, *, grace: float) -> list[Gap]:
        """Return what has been wrong for ``grace`` seconds and was not returned before."""
        gaps: list[Gap] = []
        for instance_id in sorted(self._wrong):
            instance = self._instances[instance_id]
            if instance.wrong_since is None:
                instance.wrong_since = now
            if now - instance.wrong_since >= grace:
                gaps += [Gap(instance_id, message) for message in _told(instance)]
                self._judge(instance_id, instance)
        return gaps

    def _judge(self, instance_id: str, instance: _Instance) -> None:
        if instance.wrong:
            self._wrong.add(instance_id)
        else:
            instance.wrong_since = None
            self._wrong.discard(instance_id)


def _told(instance: _Instance) -> list[str]:
    messages = []
    for first, last in instance.missing:
        which = f"generation {first} is" if first == last else f"generations {first} to {last} are"
        messages.append(f"{which} missing in the desired states")
    if instance.ahead and instance.observed > instance.told_observed:
        wanted = f"only generation {instance.desired} is" if instance.desired else "nothing is"
        messages.append(f"generation {instance.observed} was carried out, but {wanted} in the desired states")
        instance.told_observed = instance.observed
    instance.missing = []
    instance.told += len(messages)
    return messages


def _without(ranges: list[Range], generation: int) -> list[Range]:
    left: list[Range] = []
    for first, last in ranges:
        if not first <= generation <= last:
            left.append((first, last))
            continue
        if first < generation:
            left.append((first, generation - 1))
        if generation < last:
            left.append((generation + 1, last))
    return left
