"""What can go wrong on the bus, in the words of this package's errors."""

import asyncio
import contextlib
from collections.abc import Iterator

from faststream.exceptions import IncorrectState
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js.errors import BucketNotFoundError, NotFoundError

from clawstead_shared.errors import TransientError


@contextlib.contextmanager
def connected_once() -> Iterator[None]:
    """Tell of a server that was never reached.

    Raises:
        TransientError: it was not reached yet.
    """
    try:
        yield
    except IncorrectState as error:
        raise TransientError("NATS is not reachable") from error


@contextlib.contextmanager
def translated(action: str) -> Iterator[None]:
    """Tell of a server that does not answer; that something is not there is left to the caller.

    Raises:
        TransientError: the server did not do ``action`` in time.
    """
    try:
        yield
    except (NotFoundError, BucketNotFoundError):
        raise
    except (NatsTimeoutError, NatsError, TimeoutError, OSError) as error:
        raise TransientError(f"{action}: bus did not answer ({type(error).__name__})") from error


def honour_cancellation() -> None:
    """End a task that was told to end while it waited for an answer.

    ``asyncio.wait_for`` of Python 3.11, on which nats-py builds, forgets a cancellation that comes with the answer.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
