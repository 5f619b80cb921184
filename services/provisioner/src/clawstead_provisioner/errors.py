"""Why an instance could not be brought to its desired state.

ProvisioningError         becomes ``failed(reason, message)``
├── EngineUnavailableError
└── ...                   raised directly with the reason
PortTakenError            another port is tried
ImageMissingError         the image is pulled, or the instance fails
VanishedError             the world changed under the operation: look again
"""

from clawstead_shared.events import Reason

FINAL_REASONS = frozenset({Reason.CONFIG_INVALID, Reason.CRASH_LOOP, Reason.IMAGE_UNUSABLE})
"""Trying again cannot help: only a new generation of the desired state does."""


class ProvisioningError(Exception):
    """An instance cannot be what it should be. ``message`` is for its owner: no secrets, no host paths."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message

    @property
    def final(self) -> bool:
        """Whether trying the same generation again is pointless."""
        return self.reason in FINAL_REASONS


class EngineUnavailableError(ProvisioningError):
    """The container engine did not answer in time; what it was asked to do may still happen."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.ENGINE_UNAVAILABLE, f"the container engine does not answer: {detail}")


class PortTakenError(Exception):
    """The host port, or the subnet that belongs to it, is used by something that is not ours."""


class ImageMissingError(Exception):
    """The engine has no such image."""

    def __init__(self, image: str) -> None:
        super().__init__(image)
        self.image = image


class VanishedError(Exception):
    """The container is gone although it was there a moment ago."""
