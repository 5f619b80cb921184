"""Which image an instance should be made from now: pure.

An image is asked for as a reference and a revision, the count of the owner's update requests. The container stays
on what it was made from until another pair is wanted, that was fetched, and is known to be neither the same image
nor one that this instance went back from.
"""

from dataclasses import dataclass

from clawstead_provisioner.ports import Container
from clawstead_shared.events import Desired, ImageVersion, Observed
from clawstead_shared.events.payload import Record


class Trial(Record):
    """An update that is not confirmed: stored beside the state of the instance from before it."""

    good: ImageVersion
    """What to go back to."""
    candidate: ImageVersion
    failure: str | None = None
    """Why the candidate was given up; None while it may still prove itself."""
    restored: bool = False
    """The state from before is in place again."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which image an instance has, and which one it should have."""

    current: ImageVersion | None = None
    """None if that is not known, or it never had one."""
    target: ImageVersion | None = None
    pending: bool = False
    """Another one is wanted, but has to be fetched to know what it is; the present one goes on."""
    refused: bool = False
    """The one wanted is what this instance went back from before; the present one goes on."""

    @property
    def swap(self) -> bool:
        """Whether it has to be made from another image."""
        return self.current is not None and self.target is not None and not same(self.current, self.target)


NO_CHOICE = Choice()


def same(one: ImageVersion, other: ImageVersion) -> bool:
    """Say whether two versions are the same request, whatever the reference named then."""
    return (one.reference, one.revision) == (other.reference, other.revision)


def wanted_image(desired: Desired) -> ImageVersion:
    """Return what the desired state asks for."""
    return ImageVersion(reference=desired.spec.image, revision=desired.spec.image_revision)


def choose(
    desired: Desired,
    last: Observed | None,
    container: Container | None,
    trial: Trial | None = None,
    resolved: ImageVersion | None = None,
) -> Choice:
    """Return the choice of image; ``resolved`` is what was fetched last for this instance."""
    wanted = wanted_image(desired)
    if trial is not None and same(trial.candidate, wanted):
        resolved = trial.candidate
    if resolved is not None and not same(resolved, wanted):
        resolved = None
    current = _current(last, container, resolved)
    if trial is not None and trial.failure is not None:
        return Choice(current, trial.good)
    if current is None:
        return Choice(None, wanted)
    rejected = last.rejected if last else None
    if same(current, wanted) or (rejected is not None and same(rejected, wanted)):
        return Choice(current, current)
    if resolved is None:
        return Choice(current, current, pending=True)
    known_bad = rejected is not None and rejected.digest is not None and rejected.digest == resolved.digest
    if known_bad and not desired.spec.image_forced:
        return Choice(current, current, refused=True)
    return Choice(current, resolved)


def _current(last: Observed | None, container: Container | None, resolved: ImageVersion | None) -> ImageVersion | None:
    said = last.image if last else None
    if container is None:
        return said
    for known in (resolved, said):
        # A later request that turned out to be the same image: the container needs no other label for that.
        if known is not None and known.digest == container.image_digest:
            return known
    return container.image
