"""The data directory for the drift audit: modes and owners, room on its disk, the certificate in it."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from clawstead_cli.doctor.facts import CertificateFile, Disk, FileFact, Files
from clawstead_cli.errors import CommandError, MissingError
from clawstead_cli.settings import Settings
from clawstead_shared.ids import is_instance_id

_OF_CERTBOT = tuple(
    f"proxy-sync/tls/certbot/{name}" for name in ("**/*.ini", "*/*.pem", "*/config/archive/*/privkey*.pem")
)
_SECRETS = (
    "api/*.key",
    "api/*.db*",
    "provisioner/*.key",
    "nats/**/*.nk",
    "nats/**/*.seed",
    "proxy-sync/tls/*.key",
    *_OF_CERTBOT,
)
_SITE = "proxy-sync/tls/site.pem"
_INSIDE = ("config", "workspace", "auth", "config/.env")


def installation_files(settings: Settings, credentials: Path | None = None) -> Files:
    """Return the modes and owners of what must not be open to others; ``credentials`` lies somewhere else.

    Raises:
        CommandError: there is no data directory, or this user may not look into it.
    """
    root = settings.data_dir
    try:
        owner = root.stat().st_uid
        # A link has no mode of its own; what it leads to is looked at itself.
        secrets = [path for pattern in _SECRETS for path in sorted(root.glob(pattern)) if not path.is_symlink()]
        site = root / _SITE
        return Files(
            owner=owner,
            secrets=[_fact(root, path) for path in [*secrets, *_there(site, credentials)]],
            instances=list(_instances(root)),
        )
    except FileNotFoundError as error:
        raise MissingError(f"there is no data at {root}", hint="--data-dir names the installation") from error
    except OSError as error:
        raise CommandError(f"{error.filename} cannot be looked at: {error.strerror}", hint="run it as root") from error


def _there(*paths: Path | None) -> list[Path]:
    return [path for path in paths if path and path.exists()]


def _instances(root: Path) -> Iterator[FileFact]:
    directory = root / "instances"
    found = sorted(directory.iterdir()) if directory.exists() else []
    for instance in (path for path in found if is_instance_id(path.name)):
        yield _fact(root, instance)
        for path in (instance / name for name in _INSIDE):
            if path.is_symlink() or path.exists():
                yield _fact(root, path)


def _fact(root: Path, path: Path) -> FileFact:
    found = path.lstat()
    return FileFact(
        str(path.relative_to(root) if path.is_relative_to(root) else path),
        stat.S_IMODE(found.st_mode),
        found.st_uid,
        directory=stat.S_ISDIR(found.st_mode),
    )


def certificate_file(settings: Settings) -> CertificateFile:
    """Read the certificate that the edge should serve.

    Raises:
        CommandError: it cannot be read.
    """
    path = settings.data_dir / _SITE
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise CommandError(f"{path} cannot be read: {error}") from error
    return CertificateFile(certificate.not_valid_after_utc, f"{certificate.serial_number:X}")


def disk(about: str, path: Path) -> Disk:
    """Return what is left where ``path`` lies.

    Raises:
        CommandError: it cannot be told.
    """
    try:
        found = os.statvfs(path)
    except OSError as error:
        raise CommandError(f"{about} ({path}): {error.strerror}") from error
    return Disk(
        about=about,
        path=str(path),
        free_bytes=found.f_bavail * found.f_frsize,
        free_share=found.f_bavail / (found.f_blocks or 1),
        # Some file systems have no fixed number of inodes, and say 0.
        free_inodes_share=found.f_favail / found.f_files if found.f_files else 1.0,
        read_only=bool(found.f_flag & os.ST_RDONLY),
    )
