"""Applying and showing the declarations of the bus, on whatever server ``CLAWSTEAD_NATS_URL`` names."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import nats.js.errors
from nats.errors import Error as NatsError
from nats.js import JetStreamContext

from clawstead_cli.adapters.jetstream import connected
from clawstead_cli.deadline import Deadline
from clawstead_cli.errors import CommandError, UnreachableError
from clawstead_shared import topology
from clawstead_shared.streams import BUCKETS, CONSUMERS, STATE_STREAM, STREAMS


@dataclass(frozen=True, slots=True)
class StreamState:
    """How full one stream, or the stream of a bucket, is."""

    name: str
    declared: bool
    messages: int = 0
    size_bytes: int = 0
    max_bytes: int = 0
    last_sequence: int = 0


@dataclass(frozen=True, slots=True)
class ConsumerState:
    """How far one consumer is behind."""

    name: str
    declared: bool
    pending: int = 0
    unacknowledged: int = 0
    redelivered: int = 0


async def apply_streams(url: str, deadline: Deadline) -> list[topology.Change]:
    """Declare streams, consumers and buckets; repairs drift, deletes nothing.

    Raises:
        UnreachableError: NATS does not answer.
        CommandError: NATS refused.
    """
    async with connected(url, deadline) as jetstream:
        with _explained():
            return await topology.apply(jetstream)


async def show_streams(url: str, deadline: Deadline) -> tuple[list[StreamState], list[ConsumerState]]:
    """Return the state of every stream and consumer that should be there.

    Raises:
        UnreachableError: NATS does not answer.
        CommandError: NATS refused.
    """
    names = [stream.name for stream in STREAMS] + [f"KV_{bucket.name}" for bucket in BUCKETS]
    async with connected(url, deadline) as jetstream:
        with _explained():
            streams = [await _stream_state(jetstream, name) for name in names]
            consumers = [await _consumer_state(jetstream, consumer.durable) for consumer in CONSUMERS]
    return streams, consumers


async def _stream_state(jetstream: JetStreamContext, name: str) -> StreamState:
    try:
        info = await jetstream.stream_info(name)
    except nats.js.errors.NotFoundError:
        return StreamState(name, declared=False)
    state, limit = info.state, info.config.max_bytes or 0
    return StreamState(name, True, state.messages, state.bytes, max(limit, 0), state.last_seq)


async def _consumer_state(jetstream: JetStreamContext, name: str) -> ConsumerState:
    try:
        info = await jetstream.consumer_info(STATE_STREAM, name)
    except nats.js.errors.NotFoundError:
        return ConsumerState(name, declared=False)
    return ConsumerState(name, True, info.num_pending or 0, info.num_ack_pending or 0, info.num_redelivered or 0)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except nats.js.errors.ServiceUnavailableError as error:
        raise CommandError(
            f"NATS has no JetStream to offer ({error.description})", hint="start nats-server with JetStream enabled"
        ) from error
    except nats.js.errors.APIError as error:
        raise CommandError(f"NATS refused: {error.description}") from error
    except (NatsError, TimeoutError) as error:
        raise UnreachableError(f"NATS stopped answering ({type(error).__name__})") from error
