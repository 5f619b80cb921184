"""Where the server keeps the streams: a directory per account, below the one that it is given."""

from pathlib import Path

from clawstead_cli.bus_accounts import BUS_ACCOUNT
from clawstead_cli.errors import CommandError

_UNNAMED_ACCOUNT = "$G"


def adopt_store(nats_dir: Path) -> bool:
    """Give the bus account the streams of a server that had no accounts yet; True if there were any.

    Only while the server does not run. What the bus account has already is never touched.

    Raises:
        CommandError: they cannot be moved.
    """
    old, new = (nats_dir / "jetstream" / account for account in (_UNNAMED_ACCOUNT, BUS_ACCOUNT))
    if new.exists() or not old.is_dir():
        return False
    try:
        old.rename(new)
    except OSError as error:
        raise CommandError(f"the streams in {old} cannot be moved to {new}: {error.strerror}") from error
    return True
