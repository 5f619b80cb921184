"""Topic ``observed``, written by the provisioner: what an instance is."""

from enum import StrEnum

from pydantic import AwareDatetime, Field

from clawstead_shared.events.payload import ExtensibleEnum, Payload, Record
from clawstead_shared.ids import DnsLabel


class Phase(StrEnum):
    """Where an instance is in its life. ``pending`` is only shown by the API, before the first observation."""

    PENDING = "pending"
    PROVISIONING = "provisioning"
    STARTING = "starting"
    RUNNING = "running"
    UPDATING = "updating"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    DELETING = "deleting"
    REMOVED = "removed"


class Reason(ExtensibleEnum):
    """Why an instance is in its phase, for machines. ``message`` says it for people."""

    CONFIG_INVALID = "config_invalid"
    CRASH_LOOP = "crash_loop"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    DISK_FULL = "disk_full"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    IMAGE_MISSING = "image_missing"
    IMAGE_UNUSABLE = "image_unusable"
    INTERNAL_ERROR = "internal_error"
    LEFTOVERS = "leftovers"
    NAME_TAKEN = "name_taken"
    OUT_OF_MEMORY = "out_of_memory"
    PORTS_EXHAUSTED = "ports_exhausted"
    RESIZE_REFUSED = "resize_refused"
    SECRETS_MISSING = "secrets_missing"
    START_TIMEOUT = "start_timeout"
    STORAGE_UNUSABLE = "storage_unusable"
    UNKNOWN = "unknown"
    UPDATE_ROLLED_BACK = "update_rolled_back"


class ExitCause(Record):
    """How the container last ended."""

    code: int
    """Exit code as Docker reports it: 137 is SIGKILL, 78 a config that OpenClaw refuses."""
    oom_killed: bool = False
    finished_at: AwareDatetime | None = None


class WarningCode(ExtensibleEnum):
    """What the owner or the operator should look after although the instance works."""

    MEMORY_BELOW_MINIMUM = "memory_below_minimum"
    RESTART_PENDING = "restart_pending"
    UNKNOWN = "unknown"
    WORKSPACE_OVER_QUOTA = "workspace_over_quota"


class Warning(Record):
    """One thing to look after."""

    code: WarningCode
    message: str


class ImageVersion(Record):
    """One image as it was asked for, and what that was then."""

    reference: str
    revision: int = Field(default=0, ge=0)
    """``image_revision`` of the spec that asked for it."""
    digest: str | None = None
    """The engine's id of the image, None if it was never there."""


class RejectedImage(ImageVersion):
    """An image that the instance went back from."""

    message: str
    """What was wrong with it."""


class Progress(Record):
    """How far a long phase is."""

    step: str
    percent: int | None = Field(default=None, ge=0, le=100)


class Observed(Payload):
    """What an instance is, as far as ``generation`` of its desired state has been carried out."""

    generation: int = Field(ge=1)
    """Newest generation of ``desired`` that this observation takes into account."""
    phase: Phase
    reason: Reason | None = None
    message: str | None = None
    subdomain: DnsLabel
    owner_id: str | None = None
    """Owner of the instance, from its spec; None in observations written before v1 had it."""
    container_id: str | None = None
    started_at: AwareDatetime | None = None
    """When Docker last started the container (UTC)."""
    host: str | None = None
    """Where the gateway's port is published; set together with ``port``."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """Host port, kept for the instance's life."""
    boot_grace_seconds: float = Field(default=90, gt=0)
    image_digest: str | None = None
    restart_count: int = Field(default=0, ge=0)
    """Starts after the first of this container that nobody asked for."""
    exit: ExitCause | None = None
    progress: Progress | None = None
    image: ImageVersion | None = None
    """What the container was made from."""
    rejected: RejectedImage | None = None
    """The image that the last update tried in vain; kept until another one is asked for."""
    warnings: tuple[Warning, ...] = ()
    startup_path: str = "/startupz"
    """Path on ``port`` that answers 200 once the gateway has started."""
    health_path: str = "/healthz"
    """Path on ``port`` that answers 200 while the gateway lives."""
