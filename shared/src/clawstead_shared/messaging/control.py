"""Requests of operators to services: answered by one process of the service, stored nowhere.

Every request ends: with a result, with a refusal that says why, or because nobody answers.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from pydantic import BaseModel, ValidationError

from clawstead_shared.control import Refusal, Verb
from clawstead_shared.errors import HandlingError
from clawstead_shared.subjects import control_subject

log = structlog.get_logger()

Answer = Callable[[bytes], Awaitable[BaseModel]]
Turn = asyncio.Lock | contextlib.nullcontext[None]
A = TypeVar("A", bound=BaseModel)

_MAX_SECONDS = 600.0


class RefusedError(Exception):
    """A service will not, or cannot, do what was asked."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class NobodyAnswersError(Exception):
    """The service, or the bus, is not there."""


class Control:
    """Answers the requests to one service, one at a time per verb unless it says otherwise."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._answers: dict[Verb, Answer] = {}
        self._at_once: set[Verb] = set()
        self._running: set[asyncio.Task[None]] = set()

    def answer(self, verb: Verb, answer: Answer, *, at_once: bool = False) -> None:
        """Have ``answer`` called with the request's JSON. Call before ``start``.

        ``at_once``: also while another request is being answered; otherwise it waits for its turn.
        """
        self._answers[verb] = answer
        if at_once:
            self._at_once.add(verb)

    async def start(self, client: Client) -> None:
        """Listen. Of several processes of a service one gets each request."""
        for verb, answer in self._answers.items():
            turn = contextlib.nullcontext() if verb in self._at_once else asyncio.Lock()
            subject = control_subject(self._service, verb)
            await client.subscribe(subject, queue=self._service, cb=self._callback(answer, turn))

    def stop(self) -> None:
        """Cancel what is being answered."""
        for task in self._running:
            task.cancel()

    def _callback(self, answer: Answer, turn: Turn) -> Callable[[Msg], Awaitable[None]]:
        async def on_request(message: Msg) -> None:
            # Not in the callback itself: that would hold up the requests behind this one, and a stop.
            task = asyncio.create_task(_respond(message, answer, turn), name=f"control {message.subject}")
            self._running.add(task)
            task.add_done_callback(self._running.discard)

        return on_request


async def _respond(message: Msg, answer: Answer, turn: Turn) -> None:
    result: BaseModel
    try:
        async with asyncio.timeout(_MAX_SECONDS), turn:
            result = await answer(message.data)
    except RefusedError as refused:
        result = Refusal(error=str(refused), hint=refused.hint)
    except ValidationError as invalid:
        result = Refusal(error=f"the request is not understood: {invalid.errors(include_input=False)[0]['msg']}")
    except (HandlingError, TimeoutError) as error:
        result = Refusal(error=str(error) or "it took too long", hint="try again")
    except Exception as error:
        log.exception("a request failed", subject=message.subject)
        result = Refusal(error=f"the service failed: {error!r}", hint="its log says more")
    try:
        await message.respond(result.model_dump_json().encode())
    except NatsError as error:
        log.warning("an answer could not be sent", subject=message.subject, error=str(error))


async def ask(
    client: Client, service: str, verb: Verb, request: BaseModel | None, answer: type[A], *, timeout: float
) -> A:
    """Ask ``service`` and return its answer. ``timeout`` in seconds.

    Raises:
        RefusedError: the service refuses, or failed.
        NobodyAnswersError: it does not run, or did not answer in time; what was asked may be done or not.
    """
    body = request.model_dump_json().encode() if request else b""
    try:
        message = await client.request(control_subject(service, verb), body, timeout=timeout)
    except NoRespondersError as error:
        raise NobodyAnswersError(f"{service} does not run, or is not connected to the bus") from error
    except (NatsError, TimeoutError, OSError) as error:
        raise NobodyAnswersError(f"{service} did not answer within {timeout:.0f} s") from error
    return _read(message.data, answer)


def _read(data: bytes, answer: type[A]) -> A:
    parsed: dict[str, Any] = Refusal.model_validate_json(data).model_dump() if b'"error"' in data[:10] else {}
    if parsed:
        raise RefusedError(parsed["error"], hint=parsed["hint"])
    return answer.model_validate_json(data)
