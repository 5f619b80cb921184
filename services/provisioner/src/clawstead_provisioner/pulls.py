"""Image pulls: one per image at a time, in the background, with the instances that wait for it told how it goes.

They are told by looking at them again: whoever looks finds the progress here.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from clawstead_provisioner.background import Background
from clawstead_provisioner.errors import ProvisioningError
from clawstead_provisioner.ports import Images
from clawstead_shared.events import Progress, Reason

log = structlog.get_logger()

_KIND = "pull"
_REMEMBERED_SECONDS = 10.0
"""How long a failed pull answers for further ones: those who waited for it, not those who come later."""
_TOLD_EVERY_SECONDS = 1.0
_TOLD_EVERY_PERCENT = 5
_LOCAL_TAG = ":local"
_HINT = "build it with images/openclaw/build.sh, or name another image"


@dataclass(frozen=True, slots=True)
class Waiter:
    """An instance that needs an image."""

    pulled: Callable[[str], None]
    """Called with the engine's id of the image once it is there."""
    look: Callable[[], None]
    """Called after that, after a failure, and whenever there is progress to tell."""


@dataclass
class _Pull:
    """One pull under way; ``told`` is how far it was when its waiters were told last."""

    told: Progress = field(default_factory=lambda: Progress(step="pulling the image"))
    told_at: float = 0
    waiters: dict[str, Waiter] = field(default_factory=dict)


class Pulls:
    """The pulls under way and their recent failures."""

    def __init__(self, images: Images, background: Background, clock: Callable[[], float] = time.monotonic) -> None:
        self._images = images
        self._background = background
        self._clock = clock
        self._running: dict[str, _Pull] = {}
        self._failures: dict[str, tuple[float, ProvisioningError]] = {}

    def request(self, image: str, instance_id: str, waiter: Waiter) -> None:
        """Have an image pulled for an instance, or wait for the pull of it that is under way.

        Raises:
            ProvisioningError: ``image_missing``: it was tried just now, or is one that is only built here.
        """
        if only_local(image):
            # A registry's image of that name would be a stranger's.
            raise ProvisioningError(Reason.IMAGE_MISSING, f"image {image} is not on this host: {_HINT}")
        failed_at, error = self._failures.pop(image, (0.0, None))
        if error is not None and self._clock() - failed_at < _REMEMBERED_SECONDS:
            self._failures[image] = (failed_at, error)
            raise error
        if image not in self._running:
            self._running[image] = _Pull()
            self._background.start(_KIND, image, self._pull(image))
        self._running[image].waiters[instance_id] = waiter

    def progress(self, image: str, instance_id: str) -> Progress | None:
        """Return how far the pull is that an instance waits for, None if there is none."""
        pull = self._running.get(image)
        return pull.told if pull is not None and instance_id in pull.waiters else None

    async def _pull(self, image: str) -> None:
        log.info("pulling image", image=image)
        digest: str | None = None
        try:
            digest = await self._images.pull(image, lambda progress: self._note(image, progress))
        except ProvisioningError as error:
            log.warning("image not pulled", image=image, error=error.message)
            failure = ProvisioningError(error.reason, f"{error.message}; {_HINT}")
            self._failures[image] = (self._clock(), failure)
        finally:
            for waiter in self._running.pop(image).waiters.values():
                if digest is not None:
                    waiter.pulled(digest)
                waiter.look()

    def _note(self, image: str, progress: Progress) -> None:
        pull = self._running.get(image)
        if pull is None or self._clock() - pull.told_at < _TOLD_EVERY_SECONDS:
            return
        further = (progress.percent or 0) - (pull.told.percent or 0) >= _TOLD_EVERY_PERCENT
        if further or progress.step != pull.told.step:
            pull.told, pull.told_at = progress, self._clock()
            for waiter in pull.waiters.values():
                waiter.look()


def only_local(image: str) -> bool:
    """Say whether an image is one that no registry has."""
    return image.endswith(_LOCAL_TAG)
