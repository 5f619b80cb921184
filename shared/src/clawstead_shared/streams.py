"""The bus as data: every stream, consumer and key-value bucket.

Only ``clawstead streams apply`` and the keeper declare them: a service that declares with defaults
silently rewrites the shared stream.
"""

from dataclasses import dataclass, field
from datetime import timedelta

from clawstead_shared.subjects import DEAD_LETTER_ROOT, NOTICE_ROOT, ROOT, Topic, all_of

STATE_STREAM = "CLAWSTEAD"
ADVISORY_STREAM = "CLAWSTEAD_ADV"
DEAD_LETTER_STREAM = "CLAWSTEAD_DLQ"

SECRETS_BUCKET = "CLAWSTEAD_SECRETS"
KEYS_BUCKET = "CLAWSTEAD_KEYS"
TICKETS_BUCKET = "CLAWSTEAD_TICKETS"
HOSTS_BUCKET = "CLAWSTEAD_HOSTS"
"""What each provisioner's host can hold: ``clawstead_shared.hosts``, under the host's name."""

SEALING_KEY = "provisioner.seal"
"""Key in KEYS_BUCKET: the provisioner's public key (base64, Curve25519), to which the API seals secrets."""
TICKET_KEY = "api.ticket"
"""Key in KEYS_BUCKET: the API's public key (PEM, Ed25519), with which tickets are verified."""
TOKENS_KEY = "api.tokens"
"""Key in KEYS_BUCKET: the API's own copy of its tokens' digests, which only the API can read."""

EXHAUSTED = f"$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.{STATE_STREAM}.*"
"""Where the server says that a message was delivered as often as it may be, and nobody took it."""

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Stream:
    """One JetStream stream. Sizes in bytes; ``max_age`` None keeps messages until the other bounds evict."""

    name: str
    subjects: tuple[str, ...]
    max_bytes: int
    max_msgs_per_subject: int = -1
    max_age: timedelta | None = None
    discard_new: bool = False
    deny_delete: bool = False
    duplicate_window: timedelta = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Consumer:
    """One durable pull consumer, and how its service handles deliveries.

    ``retry_delays`` are the waits before each redelivery (the last repeats); after ``max_deliver`` deliveries
    the message goes to the dead-letter stream. ``concurrency`` messages are handled at once. Of another stream
    than the state stream it reads ``subjects`` instead of topics.
    """

    durable: str
    topics: tuple[Topic, ...]
    concurrency: int = 1
    ack_wait: timedelta = timedelta(seconds=60)
    max_deliver: int = 8
    max_ack_pending: int = 256
    retry_delays: tuple[timedelta, ...] = field(
        default=tuple(timedelta(seconds=seconds) for seconds in (1, 5, 15, 60, 300))
    )
    stream: str = STATE_STREAM
    subjects: tuple[str, ...] = ()

    @property
    def filter_subjects(self) -> tuple[str, ...]:
        """The subjects this consumer receives."""
        return self.subjects or tuple(all_of(topic) for topic in self.topics)


@dataclass(frozen=True, slots=True)
class Bucket:
    """One key-value bucket; ``ttl`` None keeps keys until they are deleted."""

    name: str
    ttl: timedelta | None = None
    history: int = 1
    max_bytes: int = 64 * _MIB


STREAMS = (
    Stream(
        name=STATE_STREAM,
        subjects=(f"{ROOT}.>",),
        max_bytes=2048 * _MIB,
        max_msgs_per_subject=1000,
        discard_new=True,
        deny_delete=True,
    ),
    Stream(
        name=ADVISORY_STREAM,
        subjects=(
            EXHAUSTED,
            f"$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.{STATE_STREAM}.*",
            f"{NOTICE_ROOT}.>",
        ),
        max_bytes=64 * _MIB,
        max_age=timedelta(days=30),
    ),
    Stream(
        name=DEAD_LETTER_STREAM,
        subjects=(f"{DEAD_LETTER_ROOT}.>",),
        max_bytes=256 * _MIB,
        max_age=timedelta(days=90),
    ),
)

API = Consumer(
    "api",
    topics=tuple(Topic),
    # One at a time, so that a redelivery cannot reorder the history and the event feed; soon after a crash,
    # and not held up for long by an event that the API cannot take in.
    max_ack_pending=1,
    ack_wait=timedelta(seconds=5),
    retry_delays=tuple(timedelta(seconds=seconds) for seconds in (0.2, 1, 3)),
    max_deliver=5,
)
# Most handlers only wait, for a gateway that ends or one that starts; how much is worked on is bounded behind them.
PROVISIONER = Consumer("provisioner", topics=(Topic.DESIRED,), concurrency=64, max_ack_pending=64)
PROXY_SYNC = Consumer("proxy-sync", topics=(Topic.OBSERVED,), concurrency=4)
HEALTH = Consumer("health", topics=(Topic.OBSERVED,), concurrency=4)

CONSUMERS = (API, PROVISIONER, PROXY_SYNC, HEALTH)
"""Those of the state stream."""

KEEPER = Consumer(
    "keeper",
    topics=(),
    stream=ADVISORY_STREAM,
    subjects=(EXHAUSTED,),
    # Without an end: an advisory that nobody acts on is an event that nobody hears of.
    max_deliver=-1,
    ack_wait=timedelta(seconds=30),
)

WRITERS = {
    Topic.DESIRED: "api",
    Topic.OBSERVED: "provisioner",
    Topic.ROUTE: "proxy-sync",
    Topic.HEALTH: "health",
    Topic.TERMINAL: "terminal",
}
"""The one service that writes each topic."""

BUCKETS = (
    Bucket(SECRETS_BUCKET),
    Bucket(KEYS_BUCKET),
    Bucket(TICKETS_BUCKET, ttl=timedelta(minutes=10)),
    Bucket(HOSTS_BUCKET),
)
