"""Settings of the terminal gateway."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from clawstead_shared.settings import EdgeSettings, Seconds, ServiceSettings


class TerminalSettings(ServiceSettings, EdgeSettings):
    """Read from the environment, prefix ``CLAWSTEAD_``; durations are in seconds."""

    terminal_port: int = Field(default=8704, ge=0, le=65535)
    terminal_ws_port: int = Field(default=8710, ge=0, le=65535)
    docker_socket: Path = Path("/var/run/docker.sock")
    installation: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    """Name of the installation, when it was given one: output is read of containers that carry it, and no others."""

    terminal_allowed_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins, beside the platform's own, whose pages may open terminals; comma-separated."""
    terminal_allow_missing_origin: bool = True
    """Whether clients that send no Origin are let in. Browsers always send one, so only programs do not, and a
    program cannot be tricked into using somebody's session: it needs a ticket of its own in any case."""

    terminal_max_connections: int = Field(default=500, ge=1)
    terminal_max_sessions_per_instance: int = Field(default=8, ge=1)
    terminal_auth_timeout: Seconds = Field(default=timedelta(seconds=10), gt=timedelta(0))
    terminal_ping_interval: Seconds = Field(default=timedelta(seconds=20), gt=timedelta(0))
    terminal_ping_timeout: Seconds = Field(default=timedelta(seconds=10), gt=timedelta(0))
    """A client that answers no ping for this long has vanished."""
    terminal_idle_timeout: Seconds = Field(default=timedelta(minutes=30), gt=timedelta(0))
    """A session in which nothing was typed and nothing shown for this long ends."""
    terminal_max_duration: Seconds = Field(default=timedelta(hours=8), gt=timedelta(0))
    terminal_recheck_interval: Seconds = Field(default=timedelta(seconds=30), gt=timedelta(0))
    """Between two looks at whether the instances of open sessions still run, and at what earlier sessions left."""
    terminal_dashboard_timeout: Seconds = Field(default=timedelta(seconds=60), gt=timedelta(0))

    @field_validator("terminal_allowed_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(origin.strip().rstrip("/") for origin in value.split(",") if origin.strip())
        return value

    @property
    def origins(self) -> tuple[str | None, ...]:
        """Every Origin that is let in; None is an absent one."""
        absent = (None,) if self.terminal_allow_missing_origin else ()
        return (self.base_url, *self.terminal_allowed_origins, *absent)
