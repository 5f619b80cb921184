"""What the gateway needs of the outside world, beside the bus."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from clawstead_shared.control import InstanceLogs
from clawstead_shared.messaging import EventReader, EventSink
from clawstead_terminal.protocol import Size
from clawstead_terminal.records import SessionRecord


class Bus(EventReader, EventSink, Protocol):
    """Observations to read, sessions to publish."""


class TicketVault(Protocol):
    """Where tickets are spent."""

    async def key(self) -> bytes | None:
        """Return the API's public key (PEM), None if it has not published one.

        Raises:
            TransientError: the bus did not answer.
        """
        ...

    async def spend(self, ticket_id: str) -> bool:
        """Spend a ticket; False if it was spent before. Of many who try at once, one succeeds.

        Raises:
            TransientError: the bus did not answer.
        """
        ...


class Shell(Protocol):
    """One running program with a terminal of its own."""

    async def read(self) -> bytes:
        """Return what the program wrote next, empty once it ended. Not reading holds the program up."""
        ...

    async def write(self, data: bytes) -> None:
        """Type ``data``; waits while the program does not take it. No-op once the program ended."""
        ...

    async def resize(self, size: Size) -> None:
        """Tell the program its new size. No-op once the program ended.

        Raises:
            EngineError: the engine did not answer.
        """
        ...

    async def exit_code(self) -> int | None:
        """Return the ended program's exit code, None if nobody knows it any more.

        Raises:
            EngineError: the engine did not answer.
        """
        ...

    async def close(self) -> None:
        """Let go of the connection. Does not end the program: that is what ``Containers.reap`` is for."""
        ...


class Containers(Protocol):
    """Programs inside instances. Every program carries the session it belongs to, so that all can be found again."""

    async def open_shell(self, container_id: str, instance_id: str, session_id: str, size: Size) -> Shell:
        """Start an interactive shell (bash, else sh).

        Raises:
            GoneError: the container does not run, or is not that instance's.
            EngineError: the engine refused or did not answer.
        """
        ...

    async def run(self, container_id: str, instance_id: str, session_id: str, command: Sequence[str]) -> str:
        """Run ``command`` to its end and return its standard output. Cancelling does not end the program.

        Raises:
            GoneError: the container does not run, or is not that instance's.
            EngineError: the command failed, wrote too much, or the engine refused or did not answer.
        """
        ...

    async def reap(self, container_id: str, session_id: str) -> None:
        """End every program of a session: told to hang up, and killed soon after. No-op if there is none.

        Returns once none is left. A container that is gone, or does not run, has none.

        Raises:
            EngineError: the engine did not answer, or something survived.
        """
        ...


class Output(Protocol):
    """What the instances' containers wrote."""

    async def tail(self, container_id: str, instance_id: str, lines: int) -> InstanceLogs:
        """Return the newest lines, safe to show; fewer where they are too long for one answer.

        Raises:
            GoneError: there is no such container, or it is not that instance's.
            EngineError: the engine refused or did not answer in time.
        """
        ...


class ClientGoneError(Exception):
    """The client closed its connection, or vanished."""


class Client(Protocol):
    """The other end of a WebSocket."""

    @property
    def remote(self) -> str:
        """Client address as the edge saw it."""
        ...

    @property
    def request_id(self) -> str | None:
        """The id under which the edge knows the request that made the connection."""
        ...

    @property
    def traceparent(self) -> str | None:
        """The client's own trace, if it has one."""
        ...

    async def receive(self) -> str | bytes:
        """Return the next frame.

        Raises:
            ClientGoneError: there will be none.
        """
        ...

    async def send(self, frame: str | bytes) -> None:
        """Send one frame; waits while the client does not take it.

        Raises:
            ClientGoneError: it never will.
        """
        ...

    async def close(self, code: int, reason: str) -> None:
        """Close the connection, waiting a little for the client's consent. No-op when it is closed."""
        ...


class SessionEntry(Protocol):
    """What the journal holds of one session."""

    record: SessionRecord

    def update(self, record: SessionRecord) -> None:
        """Replace it."""
        ...

    def forget(self) -> None:
        """Remove it: nothing of the session is left."""
        ...

    def leave(self) -> None:
        """Keep it for the next sweep."""
        ...


class SessionJournal(Protocol):
    """What survives the gateway's own death."""

    def open(self, record: SessionRecord) -> SessionEntry:
        """Note a session, before its first program starts."""
        ...

    def left(self) -> Iterator[SessionEntry]:
        """Take over, one by one, the sessions that nobody looks after."""
        ...
