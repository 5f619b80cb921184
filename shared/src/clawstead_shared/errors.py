"""What a failing handler tells the bus: try again, or give up.

    HandlingError
    ├── TransientError   the world may be better later: redeliver after a delay
    └── PermanentError   the same message can never succeed: dead letter

Anything else that a handler raises is a defect; it is treated as transient, and so ends as a dead letter.
"""

from datetime import timedelta


class HandlingError(Exception):
    """Base of the errors that map to a bus verdict."""


class TransientError(HandlingError):
    """The message could not be handled now. ``retry_after`` overrides the consumer's own delay."""

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PermanentError(HandlingError):
    """The message can never be handled; others go on."""


class StreamsMissingError(RuntimeError):
    """The bus is up but its streams are not declared: ``clawstead streams apply`` does that."""
