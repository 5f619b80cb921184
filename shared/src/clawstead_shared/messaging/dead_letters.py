"""Setting a message aside: the one way to write a dead letter, for the services and for the keeper.

A copy never fails for what the message is: headers that the server would obey or refuse are left out, and
what is too large for one message is cut. The original stays in the log, under ``x-dlq-sequence``.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from nats.js import JetStreamContext

from clawstead_shared.events.envelope import MAX_EVENT_BYTES
from clawstead_shared.streams import DEAD_LETTER_STREAM, STATE_STREAM
from clawstead_shared.subjects import dead_letter_subject

_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_MAX_HEADER_BYTES = 16 * 1024
_MAX_REASON = 512
_PUBLISH_SECONDS = 5


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message of the log that one consumer gives up. ``kind`` is a word, ``reason`` a sentence."""

    consumer: str
    sequence: int
    subject: str
    headers: Mapping[str, str]
    body: bytes
    kind: str
    reason: str

    @property
    def stored_subject(self) -> str:
        """Where it is set aside."""
        return dead_letter_subject(self.consumer, self.subject)

    @property
    def stored_headers(self) -> dict[str, str]:
        """The original's headers, and why it is here."""
        cut = len(self.body) > MAX_EVENT_BYTES
        return {
            **self._copied_headers(),
            "Nats-Msg-Id": f"dlq:{self.consumer}:{self.sequence}",
            "x-dlq-consumer": self.consumer,
            "x-dlq-kind": self.kind,
            # ASCII, because some clients cannot read other headers.
            "x-dlq-reason": " ".join(self.reason.split()).encode("ascii", "backslashreplace").decode()[:_MAX_REASON],
            "x-dlq-sequence": str(self.sequence),
            "x-dlq-stream": STATE_STREAM,
            "x-dlq-subject": self.subject,
            **({"x-dlq-original-bytes": str(len(self.body))} if cut else {}),
        }

    def _copied_headers(self) -> dict[str, str]:
        copied: dict[str, str] = {}
        room = _MAX_HEADER_BYTES
        for name, value in self.headers.items():
            room -= len(name) + len(value.encode())
            # Headers of the server's own would be obeyed again, or refused: a TTL, an expected sequence.
            if room >= 0 and _HEADER_NAME.fullmatch(name) and not name.lower().startswith(("nats-", "x-dlq-")):
                copied[name] = value
        return copied


async def set_aside(jetstream: JetStreamContext, letter: DeadLetter) -> None:
    """Store ``letter``, once however often this is called within ten minutes.

    Raises:
        nats.errors.Error: the bus did not confirm; the caller does it again.
    """
    await jetstream.publish(
        letter.stored_subject,
        letter.body[:MAX_EVENT_BYTES],
        stream=DEAD_LETTER_STREAM,
        headers=letter.stored_headers,
        timeout=_PUBLISH_SECONDS,
    )
