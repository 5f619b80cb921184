"""Declares the bus: the only code that creates or changes streams, consumers and buckets.

Applying is idempotent, and repairs what was altered by hand: a service that once declared with defaults, or
an operator's edit, is put back to what ``clawstead_shared.streams`` says. Nothing stored is deleted.
"""

from dataclasses import dataclass
from typing import Any, Literal

import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    KeyValueConfig,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)

from clawstead_shared.streams import BUCKETS, CONSUMERS, STATE_STREAM, STREAMS, Bucket, Consumer, Stream

Outcome = Literal["created", "repaired", "unchanged"]


@dataclass(frozen=True, slots=True)
class Change:
    """What applying did to one object."""

    kind: Literal["stream", "consumer", "bucket"]
    name: str
    outcome: Outcome
    differences: tuple[str, ...] = ()


async def apply(jetstream: JetStreamContext) -> list[Change]:
    """Make the server's streams, consumers and buckets what the declarations say.

    Raises:
        nats.errors.Error: the server did not answer or refused; what was applied before stays.
    """
    changes = [await _apply_stream(jetstream, stream) for stream in STREAMS]
    changes += [await _apply_consumer(jetstream, consumer) for consumer in CONSUMERS]
    changes += [await _apply_bucket(jetstream, bucket) for bucket in BUCKETS]
    return changes


def stream_config(stream: Stream) -> StreamConfig:
    """Return the server's form of a stream declaration."""
    return StreamConfig(
        name=stream.name,
        subjects=list(stream.subjects),
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW if stream.discard_new else DiscardPolicy.OLD,
        max_bytes=stream.max_bytes,
        max_msgs_per_subject=stream.max_msgs_per_subject,
        max_age=stream.max_age.total_seconds() if stream.max_age else 0,
        duplicate_window=stream.duplicate_window.total_seconds(),
        deny_delete=stream.deny_delete,
        allow_direct=True,
    )


def consumer_config(consumer: Consumer) -> ConsumerConfig:
    """Return the server's form of a consumer declaration."""
    subjects = list(consumer.filter_subjects)
    return ConsumerConfig(
        name=consumer.durable,
        durable_name=consumer.durable,
        filter_subject=subjects[0] if len(subjects) == 1 else None,
        filter_subjects=subjects if len(subjects) > 1 else None,
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=consumer.ack_wait.total_seconds(),
        max_deliver=consumer.max_deliver,
        max_ack_pending=consumer.max_ack_pending,
    )


async def _apply_stream(jetstream: JetStreamContext, stream: Stream) -> Change:
    wanted = stream_config(stream)
    try:
        info = await jetstream.stream_info(stream.name)
    except nats.js.errors.NotFoundError:
        await jetstream.add_stream(wanted)
        return Change("stream", stream.name, "created")
    differences = _differences(wanted, info.config)
    if not differences:
        return Change("stream", stream.name, "unchanged")
    await jetstream.update_stream(wanted)
    return Change("stream", stream.name, "repaired", differences)


async def _apply_consumer(jetstream: JetStreamContext, consumer: Consumer) -> Change:
    wanted = consumer_config(consumer)
    try:
        info = await jetstream.consumer_info(STATE_STREAM, consumer.durable)
    except nats.js.errors.NotFoundError:
        await jetstream.add_consumer(STATE_STREAM, wanted)
        return Change("consumer", consumer.durable, "created")
    differences = _differences(wanted, info.config)
    if not differences:
        return Change("consumer", consumer.durable, "unchanged")
    await jetstream.add_consumer(STATE_STREAM, wanted)
    return Change("consumer", consumer.durable, "repaired", differences)


async def _apply_bucket(jetstream: JetStreamContext, bucket: Bucket) -> Change:
    try:
        await jetstream.key_value(bucket.name)
    except nats.js.errors.BucketNotFoundError:
        await jetstream.create_key_value(
            KeyValueConfig(
                bucket=bucket.name,
                history=bucket.history,
                ttl=bucket.ttl.total_seconds() if bucket.ttl else None,
                max_bytes=bucket.max_bytes,
                storage=StorageType.FILE,
            )
        )
        return Change("bucket", bucket.name, "created")
    return Change("bucket", bucket.name, "unchanged")


def _differences(wanted: Any, actual: Any) -> tuple[str, ...]:
    fields = {name: value for name, value in vars(wanted).items() if value is not None}
    return tuple(
        f"{name}: {getattr(actual, name)!r} -> {value!r}"
        for name, value in fields.items()
        if _comparable(getattr(actual, name)) != _comparable(value)
    )


def _comparable(value: Any) -> Any:
    if isinstance(value, list):
        return sorted(value)
    return value or 0
