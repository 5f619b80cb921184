"""What consumers gave up: read, handed back to the one that failed, or dropped.

Nothing is taken for granted of a dead letter: it may have been put there by hand, without a header, or with bad ones.
"""

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import nats.js.errors
from nats.aio.client import Client

from clawstead_cli.adapters.jetstream import jetstream_of
from clawstead_cli.asking import ask_service
from clawstead_cli.entries import parsed, trace_id_of
from clawstead_cli.errors import CommandError
from clawstead_shared.control import RedriveRequest, ReplayReport, Verb
from clawstead_shared.messaging.log import Log, Stored
from clawstead_shared.streams import DEAD_LETTER_STREAM
from clawstead_shared.subjects import DEAD_LETTER_ROOT

_OWN_HEADERS = "x-dlq-"
_UNKNOWN_SEQUENCE = 0
_NO_MESSAGE = "no message found"
"""The server's words; its code is that of every failed deletion."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One message that a consumer gave up, as far as it says so."""

    number: int
    """Its sequence in the dead-letter stream."""
    stored_at: datetime
    service: str
    """Who gave it up; empty if even that is not known."""
    subject: str
    """Where it was in the log."""
    sequence: int
    """Its sequence in the log, 0 if not known."""
    kind: str
    reason: str
    headers: dict[str, str]
    """Those that it had in the log."""
    body: bytes

    @classmethod
    def of(cls, stored: Stored) -> "DeadLetter":
        """Read one."""
        headers = {name: _clean(value) for name, value in stored.headers.items()}
        durable, _, subject = stored.subject.removeprefix(f"{DEAD_LETTER_ROOT}.").partition(".")
        sequence = headers.get("x-dlq-sequence", "")
        return cls(
            number=stored.sequence,
            stored_at=stored.stored_at,
            service=headers.get("x-dlq-consumer", durable),
            subject=headers.get("x-dlq-subject", subject),
            sequence=int(sequence) if sequence.isdecimal() else _UNKNOWN_SEQUENCE,
            kind=headers.get("x-dlq-kind", "unknown"),
            reason=headers.get("x-dlq-reason", "it does not say why"),
            headers={name: value for name, value in headers.items() if not name.lower().startswith(_OWN_HEADERS)},
            body=stored.body,
        )

    @property
    def trace_id(self) -> str | None:
        """The trace of the message."""
        return trace_id_of(self.headers.get("traceparent"))

    @property
    def age_seconds(self) -> float:
        """Since it was set aside."""
        return max((datetime.now(UTC) - self.stored_at).total_seconds(), 0.0)

    def row(self) -> dict[str, Any]:
        """Return it for programs, without its body."""
        return {
            "number": self.number,
            "set_aside_at": self.stored_at.isoformat(),
            "age_seconds": round(self.age_seconds, 1),
            "service": self.service,
            "kind": self.kind,
            "reason": self.reason,
            "subject": self.subject,
            "sequence": self.sequence,
            "trace_id": self.trace_id,
            "size_bytes": len(self.body),
        }

    def document(self) -> dict[str, Any]:
        """Return it for programs, whole. ``body_base64`` stands in for a body that is not JSON."""
        data = parsed(self.body)
        body = {"data": data} if data is not None else {"body_base64": base64.b64encode(self.body).decode()}
        return {**self.row(), "headers": self.headers, **body}


class DeadLetters:
    """The dead-letter stream."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._log = Log(lambda: client, DEAD_LETTER_STREAM)

    async def read(self, *, service: str | None = None, instance_id: str | None = None) -> AsyncIterator[DeadLetter]:
        """Yield all of them, oldest first; narrowed to who gave them up, and to whom they are about."""
        async for stored in self._log.read(subject=f"{DEAD_LETTER_ROOT}.{service or '*'}.>"):
            if instance_id is None or stored.subject.endswith(f".{instance_id}"):
                yield DeadLetter.of(stored)

    async def one(self, number: int) -> DeadLetter:
        """Return one.

        Raises:
            CommandError: it is not there.
        """
        page = await self._log.page(start=number, up_to=number, subject=f"{DEAD_LETTER_ROOT}.>", limit=1)
        if not page.messages:
            raise CommandError(f"there is no dead letter {number}", hint="`clawstead dlq list` lists them")
        return DeadLetter.of(page.messages[0])

    async def redrive(self, letter: DeadLetter, *, timeout: float) -> None:
        """Hand one back to the service that gave it up, and drop it when that has taken care of it.

        Raises:
            CommandError: it failed again, or nobody is known who could take it.
            UnreachableError: the service does not run.
        """
        if not letter.service:
            raise CommandError("it does not say who gave it up", hint="drop it")
        request = RedriveRequest(
            subject=letter.subject,
            headers=letter.headers,
            body=base64.b64encode(letter.body).decode(),
            sequence=letter.sequence,
        )
        await ask_service(self._client, letter.service, Verb.REDRIVE, request, ReplayReport, timeout=timeout)
        await self.drop(letter)

    async def drop(self, letter: DeadLetter) -> None:
        """Delete one for good; one that is gone already is success."""
        try:
            await jetstream_of(self._client).delete_msg(DEAD_LETTER_STREAM, letter.number)
        except nats.js.errors.APIError as error:
            if error.description != _NO_MESSAGE:
                raise


def _clean(value: str) -> str:
    # Headers that are no UTF-8 arrive with surrogates, which no JSON can carry.
    return value.encode(errors="replace").decode()
