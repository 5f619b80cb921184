"""The log on NATS JetStream. Keeps ``Archive``."""

from collections.abc import Collection
from datetime import UTC, datetime

from nats.errors import Error as NatsError

from clawstead_api.ports import LogIdentity
from clawstead_shared.errors import TransientError
from clawstead_shared.events import Event, Payload
from clawstead_shared.messaging import Bus
from clawstead_shared.messaging.log import EVERYTHING, PAGE, Page
from clawstead_shared.streams import STATE_STREAM

_BEFORE_TIMES = datetime(1970, 1, 1, tzinfo=UTC)


class NatsLog:
    """The state stream, read only."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def identity(self) -> LogIdentity:
        """See ``Archive.identity``."""
        self._require_connected()
        try:
            info = await self._bus.jetstream.stream_info(STATE_STREAM)
        except (NatsError, TimeoutError, OSError) as error:
            raise TransientError(f"the log cannot be looked at ({type(error).__name__})") from error
        return LogIdentity(created=info.created or _BEFORE_TIMES, last_sequence=info.state.last_seq)

    async def page(
        self, *, start: int | datetime = 1, subject: str = EVERYTHING, up_to: int | None = None, limit: int = PAGE
    ) -> Page:
        """See ``Archive.page``."""
        self._require_connected()
        return await self._bus.log.page(start=start, subject=subject, up_to=up_to, limit=limit)

    async def newest_of(self, subjects: Collection[str]) -> list[Event[Payload]]:
        """See ``Archive.newest_of``."""
        self._require_connected()
        return await self._bus.log.newest_events_of(subjects)

    def _require_connected(self) -> None:
        if not self._bus.connected:
            raise TransientError("bus is not reachable")


async def created_of(bus: Bus, stream: str) -> datetime:
    """Return when ``stream`` was made (UTC).

    Raises:
        TransientError: the bus did not answer in time, or there is no such stream.
    """
    try:
        return (await bus.jetstream.stream_info(stream)).created or _BEFORE_TIMES
    except (NatsError, TimeoutError, OSError) as error:
        raise TransientError(f"{stream} cannot be looked at ({type(error).__name__})") from error
