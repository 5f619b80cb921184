"""Who a process is on the bus: the seed of its nkey, in a file that nobody else may read."""

from pathlib import Path

import nkeys  # type: ignore[import-untyped]
from nats.errors import Error as NatsError

_NOT_ITS_OWNER = 0o077


class SeedFileError(Exception):
    """The file with the seed cannot be used; the message says why and what to do."""


def read_seed(path: Path) -> str:
    """Return the seed in ``path``.

    Raises:
        SeedFileError: it cannot be read, others may read it, or it holds no seed of a user.
    """
    try:
        mode, text = path.stat().st_mode, path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SeedFileError(f"CLAWSTEAD_NATS_SEED_FILE: {path} cannot be read: {reason}") from error
    if mode & _NOT_ITS_OWNER:
        raise SeedFileError(f"CLAWSTEAD_NATS_SEED_FILE: others than its owner may read {path}: chmod 600 it")
    try:
        public_key(text)
    except ValueError as error:
        raise SeedFileError(f"CLAWSTEAD_NATS_SEED_FILE: {path} holds no seed of a NATS user (SU...)") from error
    return text


def public_key(seed: str) -> str:
    """Return the public half of a user's seed, by which the server knows it.

    Raises:
        ValueError: it is no seed of a user.
    """
    try:
        given = seed.encode("ascii")
        prefix, secret = nkeys.decode_seed(given)
        # The library does not look at the checksum at the end.
        if prefix != nkeys.PREFIX_BYTE_USER or nkeys.encode_seed(secret, prefix) != given:
            raise ValueError("not a seed of a user")
        key: bytes = nkeys.from_seed(bytearray(given)).public_key
    except (nkeys.NkeysError, ValueError, TypeError, IndexError) as error:
        raise ValueError("not a seed of a user") from error
    return key.decode()


def inbox_prefix(service: str) -> str:
    """Return below which subject ``service`` receives answers; nobody else may listen there."""
    return f"_INBOX.{service}"


def is_refusal(error: Exception) -> bool:
    """Whether the server is there, but does not let this process in."""
    return isinstance(error, NatsError) and "authorization violation" in str(error).lower()
