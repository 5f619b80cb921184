"""Topic ``desired``, written by the API: what an instance should be."""

from enum import StrEnum

from pydantic import AwareDatetime, Field

from clawstead_shared.events.payload import Payload, Record
from clawstead_shared.ids import DnsLabel


class DesiredState(StrEnum):
    """What the owner wants of the instance."""

    RUNNING = "running"
    STOPPED = "stopped"
    DELETED = "deleted"


class Channel(StrEnum):
    """A chat network through which the instance's agent talks."""

    TELEGRAM = "telegram"
    DISCORD = "discord"


class Provider(StrEnum):
    """An AI provider whose API key the instance uses."""

    ANTHROPIC = "anthropic"
    OPENAI = "openai"
    GEMINI = "gemini"
    OPENROUTER = "openrouter"


class Limits(Record):
    """The plan's limits, resolved by the API so that no other service needs to know the plans."""

    cpus: float = Field(gt=0)
    """CPU cores; fractions are shares of one core."""
    memory_bytes: int = Field(gt=0)
    pids: int = Field(default=512, gt=0)
    boot_grace_seconds: float = Field(gt=0)
    """How long a start may take before the instance counts as unhealthy."""
    sessions: int | None = None
    """Sessions to keep, None for no limit."""
    workspace_bytes: int | None = None
    """Workspace quota, None for no limit."""


class InstanceSpec(Record):
    """Everything that shapes the container and its config, apart from secrets."""

    name: str
    owner_id: str
    plan: str
    image: str
    image_revision: int = Field(default=0, ge=0)
    """Counts the owner's update requests: a higher one asks for what ``image`` names by now."""
    image_forced: bool = False
    """Whether to try an image that this instance went back from before."""
    subdomain: DnsLabel
    """First label of the hostname; the instance id unless the owner chose another."""
    origin: str
    """The public origin of the Control UI, ``https://<hostname>[:port]``, without a path."""
    limits: Limits
    model: str
    """Default model, ``provider/model`` as OpenClaw names it."""
    channel: Channel | None = None
    provider: Provider | None = None
    browser: bool = False
    """Whether the plan includes browser automation."""


class SecretRef(Record):
    """Where the instance's sealed secrets are: a key of the secrets bucket, and the revision meant."""

    key: str
    revision: int = Field(ge=1)


class RestartRequest(Record):
    """A request to restart the container start that the requester saw, and no later one.

    Naming the start makes a replay harmless: once the container has a newer start, the request is done.
    """

    count: int = Field(ge=1)
    judged_start: AwareDatetime | None = None
    """``started_at`` of the container when the request was made, None if it was not known to run."""


class AuditLink(Record):
    """The place of a change in the audit chain: each record's digest covers the one before it."""

    number: int = Field(ge=1)
    """Counts the changes of the whole installation."""
    previous: str
    """SHA-256 (hex) of the record ``number - 1``; zeros for the first."""
    digest: str
    """SHA-256 (hex) of this record."""


class Desired(Payload):
    """What an instance should be, as of ``generation``."""

    generation: int = Field(ge=1)
    """Grows by one with every change; a consumer that knows a newer one ignores this."""
    desired_state: DesiredState
    spec: InstanceSpec
    secrets: SecretRef | None = None
    restart: RestartRequest | None = None
    force: bool = False
    """Only with ``deleted``: it counts as removed even if something of it cannot be removed now."""
    actor: str
    """Who caused the change: a user or token id, never a secret."""
    request_id: str | None = None
    audit: AuditLink | None = None
    """None in events of versions that kept no chain, and where the same state is said again."""
