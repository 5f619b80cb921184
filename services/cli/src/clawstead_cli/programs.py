"""What runs, as data: each program with its command, its ports, and the variables it may see. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from clawstead_cli.settings import Settings

NATS = "nats"
SEED_VARIABLE = "CLAWSTEAD_NATS_SEED_FILE"
MARK = "CLAWSTEAD_SUPERVISED"
"""Set for every process we start, to its data directory: how what a killed supervisor left behind is found."""

_CLOUDFLARE_TOKEN = "CLOUDFLARE_API_TOKEN"  # noqa: S105 - the name of a variable
_PASSED_PREFIXES = ("CLAWSTEAD_", "OTEL_", "DOCKER_", "LC_")
_PASSED = {
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
    _CLOUDFLARE_TOKEN,
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
}
_SECRET_READERS = {
    "CLAWSTEAD_ADMIN_TOKEN": {"api"},
    "CLAWSTEAD_DATABASE_URL": {"api"},
    "CLAWSTEAD_HEALTH_DATABASE_URL": {"health"},
    _CLOUDFLARE_TOKEN: {"proxy-sync"},
}
"""Variables that may hold secrets, and the only programs that see them."""

_NEVER_PASSED = {"CLAWSTEAD_BOT_TOKEN", "CLAWSTEAD_API_KEY"}
"""Secrets that this command line reads for itself: a customer's, of no concern to any program."""


_FILES = {
    "CLAWSTEAD_ACME_CA_FILE",
    "CLAWSTEAD_ACME_AUTH_HOOK",
    "CLAWSTEAD_ACME_CLEANUP_HOOK",
    "CLAWSTEAD_DNS_CREDENTIALS_FILE",
}
"""Files that the operator names where ``clawstead`` is run; programs run elsewhere."""


class Service(StrEnum):
    """The services."""

    API = "api"
    PROVISIONER = "provisioner"
    PROXY_SYNC = "proxy-sync"
    HEALTH = "health"
    TERMINAL = "terminal"
    KEEPER = "keeper"

    @property
    def variable(self) -> str:
        """The service's name as variables have it."""
        return self.value.replace("-", "_").upper()


@dataclass(frozen=True, slots=True)
class Listener:
    """A port that a program will listen on, and the variable that moves it."""

    program: str
    host: str
    port: int
    variable: str


@dataclass(frozen=True, slots=True)
class Program:
    """One supervised process."""

    name: str
    command: tuple[str, ...]
    hidden: tuple[str, ...] = ()
    """Variables of the supervisor's environment that this program must not see."""
    seed_file: Path | None = None
    """Who it is on the bus, if it has a key of its own there."""


def programs(settings: Settings) -> list[Program]:
    """Return what the supervisor runs, in the order of starting."""
    services = [
        Program(
            service.value,
            (str(settings.bin_dir / f"clawstead-{service}"),),
            hidden=_hidden_from(service),
            seed_file=None if settings.nats_seed_file else settings.seed_of(service),
        )
        for service in Service
    ]
    if not settings.embedded_nats:
        return services
    config = str(settings.nats_dir / "nats.conf")
    nats = Program(
        NATS, (str(settings.bin_dir / "nats-server"), "-c", config), hidden=(*_SECRET_READERS, SEED_VARIABLE)
    )
    return [nats, *services]


def _hidden_from(service: Service) -> tuple[str, ...]:
    return tuple(name for name, readers in _SECRET_READERS.items() if service not in readers)


def admin_port(settings: Settings, service: Service) -> int:
    """Return the port where ``service`` answers ``/readyz``."""
    port: int = getattr(settings, f"{service.variable.lower()}_port")
    return port


def listeners(settings: Settings) -> list[Listener]:
    """Return every port that must be free before anything starts."""
    inside = [
        Listener(service, settings.bind_host, admin_port(settings, service), f"CLAWSTEAD_{service.variable}_PORT")
        for service in Service
    ]
    if settings.embedded_nats:
        inside.append(Listener(NATS, "127.0.0.1", settings.nats_port, "CLAWSTEAD_NATS_PORT"))
    inside.append(
        Listener(Service.TERMINAL, settings.bind_host, settings.terminal_ws_port, "CLAWSTEAD_TERMINAL_WS_PORT")
    )
    if settings.edge_mode == "system":
        return inside
    return [
        *inside,
        *(
            Listener(Service.PROXY_SYNC, host, port, variable)
            for host in settings.edge_hosts
            for port, variable in (
                (settings.https_port, "CLAWSTEAD_HTTPS_PORT"),
                (settings.http_port, "CLAWSTEAD_HTTP_PORT"),
            )
        ),
    ]


def environment(settings: Settings, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the supervisor: of what we inherited, only what the programs need."""
    passed = {
        name: _absolute(value) if name in _FILES else value
        for name, value in inherited.items()
        if (name in _PASSED or name.startswith(_PASSED_PREFIXES)) and name not in _NEVER_PASSED
    }
    return {
        **passed,
        "PATH": f"{settings.bin_dir}:{inherited.get('PATH', '/usr/sbin:/usr/bin:/sbin:/bin')}",
        "CLAWSTEAD_DATA_DIR": str(settings.data_dir),
        "CLAWSTEAD_NATS_URL": settings.bus_url,
        MARK: str(settings.data_dir),
    }


def environment_of(service: Service, settings: Settings, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of one service's program that is run without the supervisor."""
    hidden = _hidden_from(service)
    return {name: value for name, value in environment(settings, inherited).items() if name not in hidden}


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute()) if path else path


def executables(settings: Settings) -> list[Path]:
    """Return the files that must exist for the programs to start."""
    return [Path(program.command[0]) for program in programs(settings)]
