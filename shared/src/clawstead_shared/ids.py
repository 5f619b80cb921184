"""Names that travel between services, with the grammar that makes them safe everywhere they are used.

An instance id is a lower-case ULID: it is at once a NATS subject token, a Docker name, a DNS label and an
nginx map key, so its grammar admits none of the characters that are special in any of them.
"""

import re
from datetime import datetime
from typing import Annotated

from pydantic import StringConstraints
from ulid import ULID

INSTANCE_ID_PATTERN = r"^[0-9a-hjkmnp-tv-z]{26}$"
DNS_LABEL_PATTERN = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"

_INSTANCE_ID = re.compile(INSTANCE_ID_PATTERN.rstrip("$"))

InstanceId = Annotated[str, StringConstraints(pattern=INSTANCE_ID_PATTERN)]
DnsLabel = Annotated[str, StringConstraints(pattern=DNS_LABEL_PATTERN)]


def new_instance_id() -> str:
    """Return a fresh instance id, sortable by creation time (ULID, Crockford base32 in lower case)."""
    return str(ULID()).lower()


def created_at(instance_id: str) -> datetime:
    """Return when an instance id was made (UTC): a ULID begins with that.

    Raises:
        ValueError: it is no ULID.
    """
    return ULID.from_str(instance_id.upper()).datetime


def new_event_id() -> str:
    """Return a fresh CloudEvents id, sortable by creation time."""
    return str(ULID())


def is_instance_id(text: str) -> bool:
    """Say whether the whole of ``text`` is an instance id."""
    return _INSTANCE_ID.fullmatch(text) is not None
