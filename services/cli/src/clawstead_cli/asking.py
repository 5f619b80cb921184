"""Asking a running service to do something, with its refusals in an operator's words."""

from typing import TypeVar

from nats.aio.client import Client
from pydantic import BaseModel, ValidationError

from clawstead_cli.errors import CommandError, UnreachableError
from clawstead_shared.control import Verb
from clawstead_shared.messaging.control import NobodyAnswersError, RefusedError, ask

A = TypeVar("A", bound=BaseModel)


async def ask_service(
    client: Client, service: str, verb: Verb, request: BaseModel | None, answer: type[A], *, timeout: float
) -> A:
    """Ask ``service`` to do ``verb``. ``timeout`` in seconds.

    Raises:
        CommandError: it refuses, or what it says is not understood.
        UnreachableError: it does not run, or did not answer in time.
    """
    try:
        return await ask(client, service, verb, request, answer, timeout=timeout)
    except RefusedError as error:
        raise CommandError(f"{service} refuses: {error}", hint=error.hint) from error
    except NobodyAnswersError as error:
        raise UnreachableError(
            str(error), hint=f"`clawstead status` shows what runs, `clawstead logs {service}` why not"
        ) from error
    except ValidationError as error:
        raise CommandError(
            f"the answer of {service} is not understood", hint="are the service and this command of one version?"
        ) from error
