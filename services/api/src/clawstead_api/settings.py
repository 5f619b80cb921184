"""The API's settings, read once from the environment in ``__main__``."""

from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from clawstead_shared.settings import EdgeSettings, ServiceSettings

SQLITE = "sqlite:///"
POSTGRESQL = "postgresql://"


class Settings(ServiceSettings, EdgeSettings):
    """What the API needs to know before it starts."""

    model_config = SettingsConfigDict(env_ignore_empty=True)  # how a compose file leaves a variable out

    api_port: int = Field(default=8700, ge=1, le=65535)
    database_url: str | None = None
    """``sqlite:///path`` or ``postgresql://user:password@host/name``; a SQLite file below ``data_dir`` if unset.
    May hold a password, so it is never logged."""
    plans_file: Path | None = None
    """TOML file that replaces the packaged plans."""
    image: str = "openclaw:local"
    """Image of instances whose owner named none."""
    admin_token: SecretStr | None = Field(default=None, min_length=16)
    """Presets the first admin token; a random one is made when unset."""

    failed_tokens_per_minute: int = Field(default=60, ge=0)
    """How many tokens that are nobody's one address may send; none are looked at beyond that. 0 for no limit."""

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, url: str | None) -> str | None:
        if url is not None and not url.startswith((SQLITE, POSTGRESQL)):
            raise ValueError(f"must start with {SQLITE} or {POSTGRESQL}")
        return url

    @property
    def directory(self) -> Path:
        """The API's own folder below ``data_dir``."""
        return self.data_dir / "api"

    @property
    def database(self) -> str:
        """The database to use, whether stated or by default."""
        return self.database_url or f"{SQLITE}{self.directory / 'api.db'}"
