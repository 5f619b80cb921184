"""How full the streams are and how far behind the consumers: as metrics, and as notices when it gets serious."""

import time
from datetime import UTC, datetime, timedelta

from prometheus_client import Gauge

from clawstead_keeper.episodes import Episodes
from clawstead_keeper.ports import Bus, ConsumerState, StreamState
from clawstead_shared.messaging.noticeboard import Noticeboard
from clawstead_shared.notices import Notice, NoticeKind
from clawstead_shared.streams import BUCKETS, CONSUMERS, KEEPER, STREAMS, Consumer

FULL = 0.8
"""Fill ratio from which on operators are told."""
_PATIENCE = timedelta(seconds=30)
"""A consumer that was made anew starts at the oldest event of all, and is given this long to catch up."""

PENDING = Gauge("clawstead_consumer_pending", "Messages not delivered yet", ["consumer"])
ACK_PENDING = Gauge("clawstead_consumer_ack_pending", "Messages delivered, not acknowledged", ["consumer"])
REDELIVERED = Gauge("clawstead_consumer_redelivered", "Unacknowledged messages that were redelivered", ["consumer"])
PULLS = Gauge("clawstead_consumer_waiting_pulls", "Requests for the next message; 0: nobody asks", ["consumer"])
OLDEST = Gauge("clawstead_consumer_oldest_pending_seconds", "Age of the oldest unacknowledged message", ["consumer"])
MESSAGES = Gauge("clawstead_stream_messages", "Messages in the stream", ["stream"])
BYTES = Gauge("clawstead_stream_bytes", "Bytes in the stream", ["stream"])
FILL = Gauge("clawstead_stream_fill_ratio", "Bytes in the stream per bytes that it may hold", ["stream"])

_STREAM_NAMES = [stream.name for stream in STREAMS] + [f"KV_{bucket.name}" for bucket in BUCKETS]


class Levels:
    """Looks at every stream and consumer that is declared."""

    def __init__(self, bus: Bus, noticeboard: Noticeboard, *, lag_limit: timedelta) -> None:
        self._bus = bus
        self._noticeboard = noticeboard
        self._limit = lag_limit.total_seconds()
        self._lagging = Episodes(patience=min(_PATIENCE, lag_limit))
        self._filling = Episodes()

    async def round(self) -> None:
        """Look once. What is not there is left out: it is about to be declared again.

        Raises:
            TransientError: the bus did not answer.
        """
        for name in _STREAM_NAMES:
            if stream := await self._bus.stream(name):
                self._take_stream(stream)
        for consumer in (*CONSUMERS, KEEPER):
            if state := await self._bus.consumer(consumer):
                self._take_consumer(consumer, state)

    def _take_stream(self, stream: StreamState) -> None:
        MESSAGES.labels(stream.name).set(stream.messages)
        BYTES.labels(stream.name).set(stream.size_bytes)
        FILL.labels(stream.name).set(stream.fill)
        if self._filling.begins(stream.name, wrong=stream.fill >= FULL, now=time.monotonic()):
            message = f"stream {stream.name} is {stream.fill:.0%} full: {stream.size_bytes} of {stream.max_bytes} bytes"
            self._noticeboard.tell(Notice(kind=NoticeKind.STREAM_FILLS, about=stream.name, message=message))

    def _take_consumer(self, consumer: Consumer, state: ConsumerState) -> None:
        age = max((datetime.now(UTC) - state.oldest).total_seconds(), 0.0) if state.oldest else 0.0
        PENDING.labels(state.name).set(state.pending)
        ACK_PENDING.labels(state.name).set(state.ack_pending)
        REDELIVERED.labels(state.name).set(state.redelivered)
        PULLS.labels(state.name).set(state.waiting_pulls)
        OLDEST.labels(state.name).set(age)
        if self._lagging.begins(state.name, wrong=age > self._limit, now=time.monotonic()):
            self._noticeboard.tell(
                Notice(kind=NoticeKind.CONSUMER_LAGS, about=consumer.durable, message=_lag(state, age))
            )


def _lag(state: ConsumerState, age: float) -> str:
    asks = "" if state.waiting_pulls or state.ack_pending else "; nobody asks for them, so the service does not run"
    waiting = f"{state.pending} messages wait, {state.ack_pending} are being worked on"
    return f"{state.name} is {age:.0f} s behind: {waiting}{asks}"
