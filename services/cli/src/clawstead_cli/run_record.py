"""What a running platform was started with, for commands whose own environment may differ."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from clawstead_cli.programs import Service, admin_port
from clawstead_cli.settings import Settings


class RunRecord(BaseModel):
    """Where a running platform is found. No secrets."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    url: str
    ca_file: Path
    edge_mode: str = "managed"
    certificates: str = "local"
    """Where the edge's certificate comes from."""
    acme_ca_file: Path | None = None
    dns_credentials_file: Path | None = None
    probe_host: str
    admin_ports: dict[str, int]

    @property
    def authorities(self) -> tuple[Path, ...]:
        """Certificates to trust beside the public authorities'. Those of files that are not there are not needed."""
        return (self.ca_file, self.acme_ca_file) if self.acme_ca_file else (self.ca_file,)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Describe a platform that is started with ``settings``."""
        return cls(
            url=settings.base_url,
            ca_file=settings.ca_file,
            edge_mode=settings.edge_mode,
            certificates=settings.certificates,
            acme_ca_file=settings.acme_ca_file and settings.acme_ca_file.absolute(),
            dns_credentials_file=settings.dns_credentials_file and settings.dns_credentials_file.absolute(),
            probe_host=settings.probe_host,
            admin_ports={service.value: admin_port(settings, service) for service in Service},
        )

    @classmethod
    def load(cls, settings: Settings) -> Self:
        """Read what the running platform was started with; without a record, assume ``settings``."""
        try:
            return cls.model_validate_json(_file(settings).read_bytes())
        except (OSError, ValidationError):
            return cls.of(settings)

    def save(self, settings: Settings) -> None:
        """Write the record, whole or not at all."""
        draft = _file(settings).with_suffix(".new")
        draft.write_text(self.model_dump_json(indent=2))
        draft.replace(_file(settings))


def _file(settings: Settings) -> Path:
    return settings.run_dir / "platform.json"
