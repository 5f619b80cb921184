"""Image pulls: one per image at a time, in the background, with the instances that wait for it told at the end."""

import time
from collections.abc import Callable

import structlog

from clawstead_provisioner.background import Background
from clawstead_provisioner.errors import ProvisioningError
from clawstead_provisioner.ports import Images
from clawstead_shared.events import Reason

log = structlog.get_logger()

_KIND = "pull"
_REMEMBERED_SECONDS = 10.0
"""How long a failed pull answers for further ones: those who waited for it, not those who come later."""
_LOCAL_TAG = ":local"
_HINT = "build it with images/openclaw/build.sh, or name another image"


class Pulls:
    """The pulls under way and their recent failures."""

    def __init__(self, images: Images, background: Background, clock: Callable[[], float] = time.monotonic) -> None:
        self._images = images
        self._background = background
        self._clock = clock
        self._waiting: dict[str, list[Callable[[], None]]] = {}
        self._failures: dict[str, tuple[float, ProvisioningError]] = {}

    def request(self, image: str, done: Callable[[], None]) -> None:
        """Have a missing image pulled; ``done`` is called when that ended, well or not.

        Raises:
            ProvisioningError: ``image_missing``: it was tried just now, or is one that is only built here.
        """
        if image.endswith(_LOCAL_TAG):
            # A registry's image of that name would be a stranger's.
            raise ProvisioningError(Reason.IMAGE_MISSING, f"image {image} is not on this host: {_HINT}")
        failed_at, error = self._failures.pop(image, (0.0, None))
        if error is not None and self._clock() - failed_at < _REMEMBERED_SECONDS:
            self._failures[image] = (failed_at, error)
            raise error
        waiting = self._waiting.setdefault(image, [])
        waiting.append(done)
        if not self._background.running(_KIND, image):
            self._background.start(_KIND, image, self._pull(image))

    async def _pull(self, image: str) -> None:
        log.info("pulling image", image=image)
        try:
            await self._images.pull(image)
        except ProvisioningError as error:
            log.warning("image not pulled", image=image, error=error.message)
            failure = ProvisioningError(error.reason, f"{error.message}; {_HINT}")
            self._failures[image] = (self._clock(), failure)
        finally:
            for done in self._waiting.pop(image, ()):
                done()
