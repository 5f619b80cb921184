"""The protocol of ``/ws/terminal`` and ``/ws/dashboard``, without I/O: frames in, frames out.

client                                                  server
{"type":"auth","ticket":T,"cols":80,"rows":24}   ──▶    within ten seconds, once
                                                 ◀──    {"type":"ready","session_id":S}
bytes (keys)                                     ──▶
                                                 ◀──    bytes (screen)
{"type":"resize","cols":100,"rows":30}           ──▶
                                                 ◀──    {"type":"exit","code":0}, then close 1000
                                                 ◀──    {"type":"error","code":"...","message":"..."}, then close
                                                 ◀──    {"type":"redirect","url":"..."}   (dashboard only)
"""

import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from clawstead_terminal.errors import MalformedFrameError, RefusedError

MAX_FRAME_BYTES = 64 * 1024
_MAX_CELLS = 1000
_MAX_TICKET = 4096

Cells = Annotated[int, Field(ge=1, le=_MAX_CELLS, strict=True)]


class _Frame(BaseModel):
    # Newer clients may say more than this version knows.
    model_config = ConfigDict(frozen=True, extra="ignore")


class Size(_Frame):
    """The size of the client's screen, in characters."""

    cols: Cells = 80
    rows: Cells = 24


class Auth(Size):
    """The first frame."""

    type: Literal["auth"]
    ticket: str = Field(min_length=1, max_length=_MAX_TICKET)

    @property
    def size(self) -> Size:
        """The screen's size when the session opens."""
        return Size(cols=self.cols, rows=self.rows)


class Resize(_Frame):
    """The screen has another size now."""

    type: Literal["resize"]
    cols: Cells
    rows: Cells

    @property
    def size(self) -> Size:
        """The new size."""
        return Size(cols=self.cols, rows=self.rows)


_AUTH = TypeAdapter(Auth)
_CONTROL: TypeAdapter[Resize] = TypeAdapter(Resize)


def parse_auth(frame: str | bytes) -> Auth:
    """Read the first frame of a connection.

    Raises:
        MalformedFrameError: it is not a well-formed ``auth``.
    """
    if isinstance(frame, bytes):
        raise MalformedFrameError("the first frame must be text")
    try:
        return _AUTH.validate_json(frame)
    except ValidationError as error:
        raise MalformedFrameError(_first_error("auth", error)) from None  # the input holds the ticket


def parse_control(frame: str) -> Resize:
    """Read a text frame of an open session.

    Raises:
        MalformedFrameError: it is not a control frame that a client may send.
    """
    try:
        return _CONTROL.validate_json(frame)
    except ValidationError as error:
        raise MalformedFrameError(_first_error("control", error)) from None


def ready(session_id: str) -> str:
    """Return the frame that says the shell is there."""
    return json.dumps({"type": "ready", "session_id": session_id})


def exited(code: int | None) -> str:
    """Return the frame that says how the shell ended; None when nobody knows."""
    return json.dumps({"type": "exit", "code": code})


def refused(error: RefusedError) -> str:
    """Return the frame that says why the connection is about to be closed."""
    return json.dumps({"type": "error", "code": error.code, "message": str(error)})


def redirect(url: str) -> str:
    """Return the frame that sends the browser to its dashboard."""
    return json.dumps({"type": "redirect", "url": url})


def _first_error(frame: str, error: ValidationError) -> str:
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{frame} frame: {where + ': ' if where else ''}{first['msg']}"
