"""Messages that a service was given as often as it may be and never answered: it died or hung each time.

The server only says so once, in an advisory, and counts the message as done; so it is copied to the dead letters here.
"""

import structlog
from prometheus_client import Counter
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from clawstead_keeper.ports import Bus
from clawstead_shared.messaging.dead_letters import DeadLetter
from clawstead_shared.streams import CONSUMERS

log = structlog.get_logger()

EXHAUSTED = Counter("clawstead_keeper_exhausted_total", "Messages that were set aside for a service", ["consumer"])

_DURABLES = {consumer.durable for consumer in CONSUMERS}


class Advisory(BaseModel):
    """What the server says of a message whose deliveries are used up."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    consumer: str
    stream_seq: int
    deliveries: int
    timestamp: AwareDatetime


class Exhausted:
    """Sets aside what its service could not set aside itself."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def on_advisory(self, body: bytes) -> None:
        """Act on one advisory; doing it again changes nothing.

        Raises:
            TransientError: the bus did not answer; the advisory must come again.
        """
        try:
            advisory = Advisory.model_validate_json(body)
        except ValidationError:
            log.exception("advisory not understood")
            return
        if advisory.consumer not in _DURABLES:
            log.info("advisory about a consumer that is not ours", consumer=advisory.consumer)
            return
        original = await self._bus.message(advisory.stream_seq)
        # The log may have been lost since, and have another message at this place.
        if original is None or original.stored_at > advisory.timestamp:
            log.error(
                "the message is not in the log any more", consumer=advisory.consumer, sequence=advisory.stream_seq
            )
            return
        letter = DeadLetter(
            consumer=advisory.consumer,
            sequence=original.sequence,
            subject=original.subject,
            headers=original.headers,
            body=original.body,
            kind="DeliveriesExhausted",
            reason=f"{advisory.consumer} was given it {advisory.deliveries} times and ended or hung each time",
        )
        if await self._bus.set_aside(letter):
            EXHAUSTED.labels(advisory.consumer).inc()
            log.error("message set aside for a service", consumer=advisory.consumer, sequence=original.sequence)
