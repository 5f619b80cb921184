"""Settings of the health monitor."""

from datetime import timedelta

from pydantic import Field, SecretStr

from clawstead_shared.settings import Seconds, ServiceSettings


class HealthSettings(ServiceSettings):
    """Read from the environment, prefix ``CLAWSTEAD_``; durations are in seconds."""

    health_port: int = Field(default=8703, ge=0, le=65535)
    probe_interval: Seconds = Field(default=timedelta(seconds=15), gt=timedelta(0))
    """Between two probes of one instance."""
    probe_interval_starting: Seconds = Field(default=timedelta(seconds=2), gt=timedelta(0))
    """The same while the instance runs but has not answered yet, so that healthy is seen soon."""
    probe_timeout: Seconds = Field(default=timedelta(seconds=5), gt=timedelta(0))
    probe_concurrency: int = Field(default=256, ge=1)
    """Probes under way at once."""
    resync_interval: Seconds = Field(default=timedelta(minutes=5), gt=timedelta(0))
    """Between two comparisons of the watch list with all newest observations."""
    health_database_url: SecretStr | None = None
    """SQLAlchemy address of the history, async driver; SQLite below ``data_dir`` unless set."""
    health_retention: Seconds = Field(default=timedelta(days=7), gt=timedelta(0))
    health_max_rows: int = Field(default=5_000_000, ge=1)
    """Rows of history kept, whatever their age: about 120 bytes each."""

    @property
    def database_url(self) -> str:
        """Where the history is; may hold a password, so it is never logged."""
        if self.health_database_url is not None:
            return self.health_database_url.get_secret_value()
        return f"sqlite+aiosqlite:///{(self.data_dir / 'health' / 'health.db').resolve()}"
