"""The plans: what an instance may use. Only the API knows them; events carry the resolved numbers."""

import tomllib
from importlib import resources
from pathlib import Path

import structlog
from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError, computed_field

from clawstead_shared.events import Channel, Limits, Provider

log = structlog.get_logger()

MINIMUM_MEMORY_BYTES = 1280 * 1024**2
"""Measured with OpenClaw 2026.9.6: with less, the gateway starts and is killed for memory in its first agent turn."""

_DEFAULT_MODEL = "default"


class PlansFileError(ValueError):
    """The plans file cannot be used."""


class Plan(BaseModel):
    """One plan, as the plans file states it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    cpus: float = Field(gt=0)
    """CPU cores; fractions are shares of one core."""
    memory_bytes: int = Field(gt=0)
    pids: int = Field(default=512, gt=0)
    boot_grace_seconds: float = Field(gt=0)
    """How long a start may take before the instance counts as unhealthy."""
    sessions: int | None = Field(default=None, gt=0)
    """Sessions to keep, null for no limit."""
    workspace_bytes: int | None = Field(default=None, gt=0)
    """Workspace quota, null for no limit."""
    browser: bool
    """Whether the plan includes browser automation."""
    channels: tuple[Channel, ...]
    models: dict[str, str]
    """Default model by AI provider, ``default`` for every other."""

    @property
    def limits(self) -> Limits:
        """The numbers that the provisioner enforces."""
        return Limits(
            cpus=self.cpus,
            memory_bytes=self.memory_bytes,
            pids=self.pids,
            boot_grace_seconds=self.boot_grace_seconds,
            sessions=self.sessions,
            workspace_bytes=self.workspace_bytes,
        )

    @computed_field  # type: ignore[prop-decorator]
    @property
    def warnings(self) -> list[str]:
        """What the operator should know of the plan although it can be used."""
        if self.memory_bytes >= MINIMUM_MEMORY_BYTES:
            return []
        has, needs = self.memory_bytes // 1024**2, MINIMUM_MEMORY_BYTES // 1024**2
        return [f"memory_bytes: {has} MiB is below the measured minimum of {needs} MiB; agents will be killed for it"]

    def model_for(self, provider: Provider | None) -> str:
        """Return the default model for an owner who uses ``provider``."""
        return self.models.get(provider or _DEFAULT_MODEL, self.models[_DEFAULT_MODEL])


class Plans(RootModel[dict[str, Plan]]):
    """All plans, by name, in the order of the file."""

    model_config = ConfigDict(frozen=True)

    def get(self, name: str) -> Plan | None:
        """Return the plan called ``name``, None if there is none."""
        return self.root.get(name)

    @property
    def names(self) -> list[str]:
        """The names of all plans."""
        return list(self.root)


def load_plans(path: Path | None = None) -> Plans:
    """Read the plans from ``path``, or the packaged ones.

    Raises:
        PlansFileError: the file is missing, not TOML, or breaks the schema; the message says where.
    """
    try:
        text = path.read_text() if path else resources.files(__package__).joinpath("plans.toml").read_text()
        plans = Plans.model_validate(tomllib.loads(text))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, ValidationError) as error:
        raise PlansFileError(f"plans file {path}: {error}") from error
    for name, plan in plans.root.items():
        if _DEFAULT_MODEL not in plan.models:
            raise PlansFileError(f"plans file {path}: {name}.models has no {_DEFAULT_MODEL!r}")
        for warning in plan.warnings:
            log.warning("plan is too small", plan=name, warning=warning)
    if not plans.root:
        raise PlansFileError(f"plans file {path}: it has no plan")
    return plans
