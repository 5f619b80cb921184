"""An instance as the API tells it; what a newer API says besides is kept for ``--json``."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

RUNNING = "running"
STOPPED = "stopped"
DELETED = "deleted"
FAILED = "failed"


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)


class Image(_Part):
    """One image."""

    reference: str
    revision: int = 0
    digest: str | None = None
    message: str | None = None


class Step(_Part):
    """How far an instance is within a phase."""

    step: str
    percent: int | None = None


class Health(_Part):
    """The health monitor's verdict."""

    verdict: str
    since: datetime
    failures: int = 0
    response_ms: float | None = None
    error: str | None = None


class Warned(_Part):
    """Something to look after although the instance works."""

    code: str
    message: str


class Instance(_Part):
    """One instance."""

    id: str
    name: str
    phase: str
    desired_state: str
    generation: int
    observed_generation: int | None = None
    plan: str = ""
    url: str = ""
    image: str = ""
    image_revision: int = 0
    running_image: Image | None = None
    rejected_image: Image | None = None
    reason: str | None = None
    message: str | None = None
    progress: Step | None = None
    warnings: tuple[Warned, ...] = ()
    stalled: bool = False
    stalled_hint: str | None = None
    restart_count: int = 0
    health: Health | None = None
    route_active: bool = False
    created_at: datetime | None = None
    gateway_token: str | None = Field(default=None, repr=False)

    @property
    def now(self) -> str:
        """How far it is, for people."""
        if self.progress is None:
            return f"{self.phase} ({self.reason})" if self.reason else self.phase
        percent = "" if self.progress.percent is None else f" {self.progress.percent} %"
        return f"{self.phase}, {self.progress.step}{percent}"

    @property
    def caught_up(self) -> bool:
        """Whether what is seen follows the newest order."""
        return (self.observed_generation or 0) >= self.generation
