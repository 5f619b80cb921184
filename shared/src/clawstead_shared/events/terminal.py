"""Topic ``terminal``, written by the terminal gateway: who has a shell in an instance."""

from pydantic import AwareDatetime, Field

from clawstead_shared.events.payload import Payload, Record


class SessionEnd(Record):
    """How a session ended."""

    ended_at: AwareDatetime
    exit_code: int | None = None
    """The shell's exit code, None when the client left first."""
    reason: str


class Terminal(Payload):
    """The session that opened or closed last, and how many are open."""

    session_id: str
    owner_id: str
    remote: str
    """Client address as the edge saw it."""
    opened_at: AwareDatetime
    open_sessions: int = Field(ge=0)
    end: SessionEnd | None = None
    """None while the session is open."""
