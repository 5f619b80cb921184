"""What an operator sees of the audit chain."""

from datetime import datetime

from clawstead_api.tables import Audit
from clawstead_api.views import View
from clawstead_shared.events import EventType


class AuditEntry(View):
    """Who changed what, and its place in the chain."""

    number: int
    time: datetime
    actor: str
    request_id: str | None
    type: EventType
    instance_id: str
    generation: int
    event_id: str
    payload: str
    """SHA-256 of what the event says."""
    previous: str
    digest: str
    """SHA-256 of this record, which covers the one before it."""


class AuditPage(View):
    """Some records, newest first."""

    items: list[AuditEntry]
    next_before: int | None
    """Pass it as ``before`` for older records; null when there are none."""


class AuditFinding(View):
    """The first record that is not what it was."""

    number: int
    problem: str
    """``missing``, ``altered``, ``out_of_order``, ``event_altered`` or ``not_in_log``."""
    message: str


class AuditVerdict(View):
    """What became of checking the chain."""

    ok: bool
    records: int
    """Records that were checked."""
    in_log: int
    """Those whose event the log still holds; they were compared with it."""
    log_checked: bool
    """False when the bus was away, and only the chain itself could be checked."""
    finding: AuditFinding | None


def entry_of(row: Audit) -> AuditEntry:
    """Return what is shown of a record."""
    return AuditEntry.model_validate(row.model_dump())
