"""Who may do what on the bus, as data: one user per service, and nothing that is not listed. Pure.

A service lives in an account of its own, into which the bus account lets exactly these subjects: permissions
alone would not hold it, because the server sends an answer wherever the one who asks wants it, in the server's
own name. Asked for with a foreign topic as the place to answer, a stored message would be stored there too
(docs/adr/0016).
"""

from dataclasses import dataclass

from clawstead_shared.control import Verb
from clawstead_shared.credentials import inbox_prefix
from clawstead_shared.streams import (
    ADVISORY_STREAM,
    BUCKETS,
    CONSUMERS,
    DEAD_LETTER_STREAM,
    HOSTS_BUCKET,
    KEYS_BUCKET,
    SEALING_KEY,
    SECRETS_BUCKET,
    STATE_STREAM,
    STREAMS,
    TICKET_KEY,
    TICKETS_BUCKET,
    TOKENS_KEY,
    WRITERS,
    Consumer,
)
from clawstead_shared.streams import KEEPER as KEEPER_CONSUMER
from clawstead_shared.subjects import (
    CONTROL_ROOT,
    NOTICE_ROOT,
    ROOT,
    Topic,
    all_of,
    control_subject,
    dead_letter_subject,
)

OPERATOR = "operator"
KEEPER = "keeper"

_API = "$JS.API"
_STREAM_NAMES = (*(stream.name for stream in STREAMS), *(f"KV_{bucket.name}" for bucket in BUCKETS))
_READABLE_BUCKETS = {
    "api": (SECRETS_BUCKET, KEYS_BUCKET, HOSTS_BUCKET),
    "provisioner": (SECRETS_BUCKET, KEYS_BUCKET, HOSTS_BUCKET),
    "terminal": (KEYS_BUCKET, TICKETS_BUCKET),
}
_WRITABLE_KEYS = {
    "api": (f"{SECRETS_BUCKET}.*", f"{KEYS_BUCKET}.{TICKET_KEY}", f"{KEYS_BUCKET}.{TOKENS_KEY}"),
    "provisioner": (f"{KEYS_BUCKET}.{SEALING_KEY}", f"{HOSTS_BUCKET}.>"),
    "terminal": (f"{TICKETS_BUCKET}.*",),
}
_LIVE_TOPICS = {"terminal": (Topic.OBSERVED,)}
"""Heard as they are published, beside the log."""


@dataclass(frozen=True, slots=True)
class Between:
    """A subject that one user has to do with ``other``, without the bus account between them."""

    other: str
    subject: str


_NOTICES = {"proxy-sync": f"{NOTICE_ROOT}.certificate.*"}
"""What it may tell operators; the rest is the keeper's."""

_QUESTIONS = {"api": (Between("terminal", control_subject("terminal", Verb.LOGS)),)}


@dataclass(frozen=True, slots=True)
class BusUser:
    """One user. ``trusted``: it lives in the bus account itself, and only its permissions hold it."""

    name: str
    sends: tuple[str, ...]
    """What it may publish, which includes what it may ask of the server."""
    hears: tuple[Between, ...] = ()
    """What it gets to hear as the other one publishes it."""
    answers: tuple[str, ...] = ()
    """Where it is asked by operators."""
    questions: tuple[Between, ...] = ()
    """What it may ask the other one."""
    trusted: bool = False

    @property
    def publish(self) -> tuple[str, ...]:
        """Every subject that it may publish to."""
        return (*self.sends, *(question.subject for question in self.questions))

    @property
    def subscribe(self) -> tuple[str, ...]:
        """Every subject that it may listen to."""
        return (f"{inbox_prefix(self.name)}.>", *(heard.subject for heard in self.hears), *self.answers)


def bus_users() -> tuple[BusUser, ...]:
    """Return every user: one per service, the keeper of the bus, and the operator, who may do everything."""
    services = tuple(_service(name) for name in dict.fromkeys(WRITERS.values()))
    return (*services, _keeper(), BusUser(OPERATOR, sends=(">",), hears=(Between(OPERATOR, ">"),), trusted=True))


def _service(name: str) -> BusUser:
    return BusUser(
        name,
        sends=(*_topics(name), *_reading_the_log(), *_consuming(name), *_buckets(name), *_notices(name)),
        hears=tuple(Between(WRITERS[topic], all_of(topic)) for topic in _LIVE_TOPICS.get(name, ())),
        answers=(f"{CONTROL_ROOT}.{name}.*",),
        questions=_QUESTIONS.get(name, ()),
    )


def _topics(name: str) -> list[str]:
    return [all_of(topic) for topic, writer in WRITERS.items() if writer == name]


def _notices(name: str) -> list[str]:
    return [subject for service, subject in _NOTICES.items() if service == name]


def _reading_the_log() -> list[str]:
    return [
        f"{_API}.STREAM.INFO.{STATE_STREAM}",
        f"{_API}.DIRECT.GET.{STATE_STREAM}",
        f"{_API}.DIRECT.GET.{STATE_STREAM}.{ROOT}.*.*",
    ]


def _consuming(name: str) -> list[str]:
    return [
        subject
        for durable in (consumer.durable for consumer in CONSUMERS if consumer.durable == name)
        for subject in (
            f"{_API}.CONSUMER.INFO.{STATE_STREAM}.{durable}",
            f"{_API}.CONSUMER.MSG.NEXT.{STATE_STREAM}.{durable}",
            f"$JS.ACK.{STATE_STREAM}.{durable}.>",
            dead_letter_subject(durable, f"{ROOT}.>"),
        )
    ]


def _buckets(name: str) -> list[str]:
    readable = _READABLE_BUCKETS.get(name, ())
    return [
        *(f"{_API}.STREAM.INFO.KV_{bucket}" for bucket in readable),
        *(f"{_API}.DIRECT.GET.KV_{bucket}" for bucket in readable),
        *(f"{_API}.DIRECT.GET.KV_{bucket}.$KV.{bucket}.>" for bucket in readable),
        *(f"$KV.{key}" for key in _WRITABLE_KEYS.get(name, ())),
    ]


def _keeper() -> BusUser:
    """Declares everything, copies what was given up, tells what it found; deletes nothing stored, reads no bucket."""
    logs = (STATE_STREAM, ADVISORY_STREAM, DEAD_LETTER_STREAM)
    declared = (*CONSUMERS, KEEPER_CONSUMER)
    return BusUser(
        KEEPER,
        sends=(
            *(
                f"{_API}.{verb}.{name}"
                for name in _STREAM_NAMES
                for verb in ("STREAM.INFO", "STREAM.CREATE", "STREAM.UPDATE")
            ),
            *(subject for consumer in declared for subject in _declaring(consumer)),
            *(f"{_API}.DIRECT.GET.{name}" for name in logs),
            *(f"{_API}.DIRECT.GET.{name}.>" for name in logs),
            f"{_API}.CONSUMER.MSG.NEXT.{ADVISORY_STREAM}.{KEEPER_CONSUMER.durable}",
            f"$JS.ACK.{ADVISORY_STREAM}.{KEEPER_CONSUMER.durable}.>",
            *(dead_letter_subject(consumer.durable, ">") for consumer in declared),
            f"{NOTICE_ROOT}.*",
        ),
        answers=(f"{CONTROL_ROOT}.{KEEPER}.*",),
        trusted=True,
    )


def _declaring(consumer: Consumer) -> list[str]:
    name = f"{consumer.stream}.{consumer.durable}"
    verbs = ("CONSUMER.INFO", "CONSUMER.CREATE", "CONSUMER.DURABLE.CREATE", "CONSUMER.DELETE")
    return [*(f"{_API}.{verb}.{name}" for verb in verbs), f"{_API}.CONSUMER.CREATE.{name}.>"]
