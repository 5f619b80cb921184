"""What an operator should hear of: things that were repaired, lost, or set aside.

Written to ``clawstead.notice.<kind>`` in the advisory stream, which keeps them for a month.
"""

from datetime import UTC, datetime
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from clawstead_shared.subjects import NOTICE_ROOT


class NoticeKind(StrEnum):
    """What happened."""

    BUS_REPAIRED = "bus_repaired"
    """A stream, consumer or bucket was missing or altered, and is as declared again."""
    BUS_REFUSED = "bus_refused"
    """One differs from its declaration, and the server refuses to change it: an operator must decide."""
    DEAD_LETTERS_GREW = "dead_letters_grew"
    GAP_FOUND = "gap_found"
    """An instance's events do not follow on each other: something is missing in the log."""
    CONSUMER_LAGS = "consumer_lags"
    STREAM_FILLS = "stream_fills"
    """A stream is near its bound; one that is full takes no more events."""
    CERTIFICATE_ISSUED = "certificate.issued"
    """A new certificate is served."""
    CERTIFICATE_FAILED = "certificate.failed"
    """None could be got, or it is not served; the one before stays."""
    CERTIFICATE_EXPIRES = "certificate.expires"
    """The served certificate ends soon, and no newer one could be got."""


class Notice(BaseModel):
    """One notice. ``about`` names the object: a stream, a consumer, an instance."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: NoticeKind
    about: str
    message: str
    reason: str | None = None
    """A stable code, for kinds that have several causes."""
    at: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))

    @property
    def subject(self) -> str:
        """Where it is published."""
        return f"{NOTICE_ROOT}.{self.kind}"
