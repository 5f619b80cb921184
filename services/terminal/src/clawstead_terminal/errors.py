"""Why a client is turned away: each error knows the close code and the machine-readable name that it is told."""

from enum import IntEnum


class Close(IntEnum):
    """WebSocket close codes. 4xxx are ours; the last digits mean what they mean in HTTP."""

    NORMAL = 1000
    GOING_AWAY = 1001
    TRY_AGAIN_LATER = 1013
    MALFORMED = 4400
    UNAUTHORIZED = 4401
    NO_SUCH_INSTANCE = 4404
    TIMEOUT = 4408
    NOT_RUNNING = 4409
    TOO_MANY_SESSIONS = 4429
    FAILED = 4500


class RefusedError(Exception):
    """The client cannot have what it asks for. The message is shown to it, so it holds no secrets."""

    def __init__(self, close: Close, code: str, message: str) -> None:
        super().__init__(message)
        self.close = close
        self.code = code


class MalformedFrameError(RefusedError):
    """A frame that breaks the protocol."""

    def __init__(self, message: str) -> None:
        super().__init__(Close.MALFORMED, "malformed", message)


class TicketRefusedError(RefusedError):
    """The ticket is false, used, expired, or good for something else; the client is not told more than it needs."""

    def __init__(self, message: str) -> None:
        super().__init__(Close.UNAUTHORIZED, "ticket_refused", message)


class EngineError(Exception):
    """The container engine refused, or did not answer in time."""


class GoneError(EngineError):
    """The container or exec is not there, or does not run."""
