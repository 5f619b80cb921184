"""What is known of one session, from its opening on."""

from pydantic import AwareDatetime, BaseModel, ConfigDict

from clawstead_shared.events import Event, EventType, SessionEnd, Terminal

SOURCE = "terminal"


class SessionRecord(BaseModel):
    """One session. Frozen; its end is a new record."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    session_id: str
    instance_id: str
    container_id: str
    owner_id: str
    remote: str
    """Client address as the edge saw it."""
    opened_at: AwareDatetime
    end: SessionEnd | None = None

    def event(self, open_sessions: int) -> Event[Terminal]:
        """Return the event that tells of the session's opening, or of its end if it has one."""
        type_ = EventType.SESSION_CLOSED if self.end else EventType.SESSION_OPENED
        return Event(
            type_,
            SOURCE,
            Terminal(
                instance_id=self.instance_id,
                session_id=self.session_id,
                owner_id=self.owner_id,
                remote=self.remote,
                opened_at=self.opened_at,
                open_sessions=open_sessions,
                end=self.end,
            ),
        )
