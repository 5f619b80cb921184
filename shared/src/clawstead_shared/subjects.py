"""The one grammar of our NATS subjects.

clawstead.v1.<topic>.<instance_id>       the log: what was wanted, and what came of it
clawstead.dlq.<durable>.<subject>        what a consumer gave up
clawstead.notice.<kind>                  what an operator should hear of
clawstead.control.<service>.<verb>       what an operator asks a service to do; not stored
"""

from enum import StrEnum

from clawstead_shared.ids import is_instance_id

ROOT = "clawstead.v1"
DEAD_LETTER_ROOT = "clawstead.dlq"
NOTICE_ROOT = "clawstead.notice"
CONTROL_ROOT = "clawstead.control"


class Topic(StrEnum):
    """The five topics. Each has exactly one writer, and one subject per instance."""

    DESIRED = "desired"
    OBSERVED = "observed"
    ROUTE = "route"
    HEALTH = "health"
    TERMINAL = "terminal"


def subject_of(topic: Topic, instance_id: str) -> str:
    """Return the subject that carries ``topic`` for one instance.

    Raises:
        ValueError: ``instance_id`` is not an instance id, and could add tokens or wildcards to the subject.
    """
    if not is_instance_id(instance_id):
        raise ValueError(f"not an instance id: {instance_id!r}")
    return f"{ROOT}.{topic}.{instance_id}"


def all_of(topic: Topic) -> str:
    """Return the wildcard subject of every instance of one topic."""
    return f"{ROOT}.{topic}.*"


def parse_subject(subject: str) -> tuple[Topic, str]:
    """Split a subject into its topic and instance id.

    Raises:
        ValueError: the subject is not one of ours.
    """
    root, _, rest = subject.partition(f"{ROOT}.")
    topic, _, instance_id = rest.partition(".")
    if root or not is_instance_id(instance_id):
        raise ValueError(f"not a {ROOT} subject: {subject!r}")
    return Topic(topic), instance_id


def dead_letter_subject(durable: str, subject: str) -> str:
    """Return where a message of ``subject`` goes when consumer ``durable`` gives it up."""
    return f"{DEAD_LETTER_ROOT}.{durable}.{subject}"


def control_subject(service: str, verb: str) -> str:
    """Return where ``service`` is asked to do ``verb``."""
    return f"{CONTROL_ROOT}.{service}.{verb}"
