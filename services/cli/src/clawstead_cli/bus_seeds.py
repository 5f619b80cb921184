"""The users' seeds: made once, each in a file of its own that only its owner may read."""

import os
import secrets
from pathlib import Path

import nkeys  # type: ignore[import-untyped]

from clawstead_cli.bus_users import bus_users
from clawstead_cli.errors import CommandError
from clawstead_shared.credentials import SeedFileError, public_key, read_seed

_SEED_BYTES = 32


def ensure_seeds(directory: Path) -> dict[str, str]:
    """Make the seeds that are missing; return every user's public key by name.

    Raises:
        CommandError: a file is there already that holds no seed, or others may read it; or none can be made.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        return {user.name: public_key(_ensure(directory / f"{user.name}.nk")) for user in bus_users()}
    except OSError as error:
        raise CommandError(f"the keys of the NATS users cannot be written to {directory}: {error.strerror}") from error


def _ensure(path: Path) -> str:
    if not path.exists():
        _write(path, nkeys.encode_seed(secrets.token_bytes(_SEED_BYTES), nkeys.PREFIX_BYTE_USER))
    try:
        return read_seed(path)
    except SeedFileError as error:
        raise CommandError(
            f"the key of a NATS user cannot be used: {error}",
            hint="remove the file; the next `clawstead up` makes another",
        ) from error


def _write(path: Path, seed: bytes) -> None:
    """Whole or not at all: a seed that is half there after a crash would keep its service out."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(seed)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
