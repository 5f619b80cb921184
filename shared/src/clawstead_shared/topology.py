"""Declares the bus: the only code that creates or changes streams, consumers and buckets.

Applying is idempotent, and repairs what was altered by hand: a service that once declared with defaults, or
an operator's edit, is put back to what ``clawstead_shared.streams`` says. Nothing stored is deleted. What the
server refuses to change holds up nothing else; a consumer is then made anew, which costs its position only.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

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
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError

from clawstead_shared.streams import BUCKETS, CONSUMERS, KEEPER, STREAMS, Bucket, Consumer, Stream

Outcome = Literal["created", "repaired", "made anew", "refused", "unchanged"]
Kind = Literal["stream", "consumer", "bucket"]

_CANNOT_BE_UPDATED = 10012
"""The server's code for a change of what a consumer was created with, for good."""


@dataclass(frozen=True, slots=True)
class Change:
    """What applying did to one object."""

    kind: Kind
    name: str
    outcome: Outcome
    differences: tuple[str, ...] = ()
    error: str | None = None
    """Why the server refused."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One object that is not as it is declared."""

    kind: Kind
    name: str
    missing: bool
    differences: tuple[str, ...] = ()


async def compare(jetstream: JetStreamContext) -> list[Drift]:
    """Return what ``apply`` would create or repair; changes nothing.

    Raises:
        nats.errors.Error: the server did not answer, or has no JetStream.
    """
    drifts = [await _drift_of_stream(jetstream, "stream", stream.name, stream_config(stream)) for stream in STREAMS]
    drifts += [await _drift_of_consumer(jetstream, consumer) for consumer in (*CONSUMERS, KEEPER)]
    drifts += [await _drift_of_stream(jetstream, "bucket", bucket.name, bucket) for bucket in BUCKETS]
    return [drift for drift in drifts if drift is not None]


async def _drift_of_consumer(jetstream: JetStreamContext, consumer: Consumer) -> Drift | None:
    try:
        info = await jetstream.consumer_info(consumer.stream, consumer.durable)
    except NotFoundError:
        return Drift("consumer", consumer.durable, missing=True)
    differences = _differences(consumer_config(consumer), info.config)
    return Drift("consumer", consumer.durable, False, differences) if differences else None


async def _drift_of_stream(
    jetstream: JetStreamContext, kind: Kind, name: str, wanted: StreamConfig | Bucket
) -> Drift | None:
    try:
        actual = (await jetstream.stream_info(f"KV_{name}" if kind == "bucket" else name)).config
    except NotFoundError:
        return Drift(kind, name, missing=True)
    declared = _bucket_config(wanted, actual) if isinstance(wanted, Bucket) else wanted
    differences = _differences(declared, actual)
    return Drift(kind, name, False, differences) if differences else None


async def apply(jetstream: JetStreamContext) -> list[Change]:
    """Make the server's streams, consumers and buckets what the declarations say.

    Raises:
        nats.errors.Error: the server did not answer, or has no JetStream; what was applied before stays.
    """
    return [change async for change in applying(jetstream)]


async def applying(jetstream: JetStreamContext) -> AsyncIterator[Change]:
    """Do what ``apply`` does, and yield each change when it is done. Raises what that does."""
    for stream in STREAMS:
        yield await _apply_stream(jetstream, stream_config(stream))
    for consumer in (*CONSUMERS, KEEPER):
        yield await _apply_consumer(jetstream, consumer)
    for bucket in BUCKETS:
        yield await _apply_bucket(jetstream, bucket)


def stream_config(stream: Stream) -> StreamConfig:
    """Return the server's form of a stream declaration."""
    return StreamConfig(
        name=stream.name,
        subjects=list(stream.subjects),
        retention=RetentionPolicy.LIMITS,
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW if stream.discard_new else DiscardPolicy.OLD,
        max_msgs=-1,
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
        max_waiting=512,
        headers_only=False,
        inactive_threshold=0,
        backoff=[],
    )


async def _apply_stream(jetstream: JetStreamContext, wanted: StreamConfig) -> Change:
    name = wanted.name or ""
    differences: tuple[str, ...] = ()
    try:
        info = await jetstream.stream_info(name)
        differences = _differences(wanted, info.config)
        if differences:
            await jetstream.update_stream(wanted)
    except NotFoundError:
        return await _created(jetstream, wanted)
    except APIError as error:
        return _refused("stream", name, differences, error)
    return Change("stream", name, "repaired" if differences else "unchanged", differences)


async def _created(jetstream: JetStreamContext, wanted: StreamConfig) -> Change:
    name = wanted.name or ""
    try:
        await jetstream.add_stream(wanted)
    except APIError as error:
        return _refused("stream", name, (), error)
    return Change("stream", name, "created")


async def _apply_consumer(jetstream: JetStreamContext, consumer: Consumer) -> Change:
    wanted = consumer_config(consumer)
    differences: tuple[str, ...] = ()
    try:
        info = await jetstream.consumer_info(consumer.stream, consumer.durable)
        differences = _differences(wanted, info.config)
        if differences:
            await jetstream.add_consumer(consumer.stream, wanted)
    except NotFoundError:
        return await _made_anew(jetstream, consumer, (), "created")
    except APIError as error:
        if error.err_code != _CANNOT_BE_UPDATED:
            return _refused("consumer", consumer.durable, differences, error)
        return await _made_anew(jetstream, consumer, differences, "made anew")
    return Change("consumer", consumer.durable, "repaired" if differences else "unchanged", differences)


async def _made_anew(
    jetstream: JetStreamContext, consumer: Consumer, differences: tuple[str, ...], outcome: Outcome
) -> Change:
    try:
        if outcome == "made anew":
            await jetstream.delete_consumer(consumer.stream, consumer.durable)
        await jetstream.add_consumer(consumer.stream, consumer_config(consumer))
    except APIError as error:
        return _refused("consumer", consumer.durable, differences, error)
    return Change("consumer", consumer.durable, outcome, differences)


async def _apply_bucket(jetstream: JetStreamContext, bucket: Bucket) -> Change:
    try:
        actual = (await jetstream.stream_info(f"KV_{bucket.name}")).config
    except NotFoundError:
        wanted = KeyValueConfig(
            bucket=bucket.name, history=bucket.history, ttl=bucket.ttl.total_seconds() if bucket.ttl else None
        )
        wanted = wanted.evolve(max_bytes=bucket.max_bytes, storage=StorageType.FILE, direct=True)
        try:
            await jetstream.create_key_value(wanted)
        except APIError as error:
            return _refused("bucket", bucket.name, (), error)
        return Change("bucket", bucket.name, "created")
    change = await _apply_stream(jetstream, _bucket_config(bucket, actual))
    return Change("bucket", bucket.name, change.outcome, change.differences, change.error)


def _bucket_config(bucket: Bucket, actual: StreamConfig) -> StreamConfig:
    # The rest of a bucket's stream is the library's business, so it is left as it is.
    return actual.evolve(
        subjects=[f"$KV.{bucket.name}.>"],
        storage=StorageType.FILE,
        discard=DiscardPolicy.NEW,
        max_msgs=-1,
        max_msgs_per_subject=bucket.history,
        max_age=bucket.ttl.total_seconds() if bucket.ttl else 0,
        max_bytes=bucket.max_bytes,
        allow_direct=True,
    )


def _refused(kind: Kind, name: str, differences: tuple[str, ...], error: APIError) -> Change:
    if isinstance(error, ServiceUnavailableError):
        raise error
    return Change(kind, name, "refused", differences, error.description or str(error))


def _differences(wanted: Any, actual: Any) -> tuple[str, ...]:
    fields = {name: value for name, value in vars(wanted).items() if value is not None}
    return tuple(
        f"{name}: {getattr(actual, name)!r} -> {value!r}"
        for name, value in fields.items()
        if _comparable(getattr(actual, name)) != _comparable(value)
    )


def _comparable(value: Any) -> Any:
    if isinstance(value, list):
        return sorted(value) or 0
    return value or 0
