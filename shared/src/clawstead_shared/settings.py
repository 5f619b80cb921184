"""Settings fragments. Each service composes its own frozen object from these, once, in ``__main__``."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict


def _from_seconds(value: object) -> object:
    try:
        return timedelta(seconds=float(value))  # type: ignore[arg-type]  # what float refuses goes on as it is
    except (TypeError, ValueError, OverflowError):
        return value


Seconds = Annotated[timedelta, BeforeValidator(_from_seconds)]
"""A duration that the environment states in seconds (``15``, ``0.5``); ISO 8601 (``PT15S``) works too."""


class Fragment(BaseSettings):
    """Base of all settings: read from the environment, prefix ``CLAWSTEAD_``, never changed, never logged."""

    model_config = SettingsConfigDict(env_prefix="CLAWSTEAD_", frozen=True, extra="ignore")


class BusSettings(Fragment):
    """How to reach NATS."""

    nats_url: str = "nats://127.0.0.1:4222"
    """Server address; may hold user and password, so it is never logged."""
    nats_seed_file: Path | None = None
    """File with the seed of this process's nkey; without one the server must know it by the URL, or let in anybody."""


class LogSettings(Fragment):
    """How to log."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"


class EdgeSettings(Fragment):
    """The public face: hostnames and ports that several services must agree on."""

    domain: str = Field(default="claw.localhost", pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")
    https_port: int = Field(default=8443, ge=1, le=65535)

    @property
    def public_port_suffix(self) -> str:
        """``:port`` as it must appear in an origin: empty for 443."""
        return "" if self.https_port == 443 else f":{self.https_port}"  # noqa: PLR2004 - the HTTPS default

    @property
    def base_url(self) -> str:
        """The platform's own origin, without a trailing slash."""
        return f"https://{self.domain}{self.public_port_suffix}"

    def hostname(self, subdomain: str) -> str:
        """Return the hostname of an instance."""
        return f"{subdomain}.{self.domain}"

    def origin(self, subdomain: str) -> str:
        """Return the origin of an instance, without a trailing slash."""
        return f"https://{self.hostname(subdomain)}{self.public_port_suffix}"


class ServiceSettings(BusSettings, LogSettings):
    """What every service needs."""

    data_dir: Path = Path("data")
    """Root of all state; each service writes only its own folder below."""
    bind_host: str = "127.0.0.1"
    """Address on which the service's own HTTP port listens."""


def complaint(error: ValidationError) -> str:
    """Return in one line what is wrong with settings, by their names in the environment, and never what they are."""
    return "; ".join(_complaint(each) for each in error.errors(include_input=False, include_context=False))


def _complaint(error: ErrorDetails) -> str:
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"]:  # what several settings are together
        return message
    name = "_".join(map(str, error["loc"]))
    return f"{name if name.isupper() else f'CLAWSTEAD_{name.upper()}'}: {message}"
