"""What a failing bus means to an operator, in words."""

from collections.abc import Iterator
from contextlib import contextmanager

import nats.js.errors
from nats.errors import Error as NatsError

from clawstead_cli.errors import CommandError, UnreachableError
from clawstead_shared.errors import TransientError

_STARTED = "is the platform up (`clawstead status`)?"


@contextmanager
def explained() -> Iterator[None]:
    """Raise what NATS says in the block as what a command may end with.

    Raises:
        UnreachableError: it stopped answering.
        CommandError: it refused.
    """
    try:
        yield
    except nats.js.errors.ServiceUnavailableError as error:
        raise CommandError(
            f"NATS has no JetStream to offer ({error.description})", hint="start nats-server with JetStream enabled"
        ) from error
    except nats.js.errors.APIError as error:
        raise CommandError(f"NATS refused: {error.description}") from error
    except (NatsError, TimeoutError) as error:
        raise UnreachableError(f"NATS stopped answering ({type(error).__name__})", hint=_STARTED) from error
    except TransientError as error:
        raise UnreachableError(f"NATS stopped answering ({error})", hint=_STARTED) from error
