"""The file in which certbot's DNS plugins find their secret: 0600 and ours, or it is not used."""

import os
import stat
from pathlib import Path

from clawstead_proxy_sync.adapters.files import make_directory, write_atomically
from clawstead_proxy_sync.certificates.failures import CertificateError, Reason

_SECRET = 0o600
_PRIVATE = 0o700


def store_token(path: Path, token: str) -> None:
    """Have ``path`` hold Cloudflare's token. Done already is success.

    Raises:
        OSError: it could not be stored.
    """
    content = f"dns_cloudflare_api_token = {token}\n".encode()
    try:
        check(path)
        if path.read_bytes() == content:
            return
    except (CertificateError, FileNotFoundError):
        pass
    make_directory(path.parent, mode=_PRIVATE)
    write_atomically(path, content, mode=_SECRET)


def check(path: Path) -> None:
    """Refuse a file that others could read or change: certbot itself only warns.

    Raises:
        CertificateError: it is missing, not ours, or not 0600.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise CertificateError(
            Reason.CREDENTIALS_UNSAFE, f"the credentials file {path} cannot be read: {error.strerror}"
        ) from error
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISREG(found.st_mode):
        raise CertificateError(Reason.CREDENTIALS_UNSAFE, f"the credentials file {path} is not a file")
    if mode & ~_SECRET:
        raise CertificateError(Reason.CREDENTIALS_UNSAFE, f"the credentials file {path} has mode {mode:04o}, not 0600")
    if found.st_uid != os.geteuid():
        message = f"the credentials file {path} belongs to user {found.st_uid}, and proxy-sync is {os.geteuid()}"
        raise CertificateError(Reason.CREDENTIALS_UNSAFE, message)
