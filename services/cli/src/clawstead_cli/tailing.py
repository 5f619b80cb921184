"""Following the log live, across restarts of the server and even the loss of its store."""

from datetime import datetime, timedelta

from clawstead_shared.messaging.log import Log, Stored


class Tail:
    """A place in the log that moves on. Keeps no connection, so it outlives every one."""

    def __init__(self, subject: str, start: int) -> None:
        self._subject = subject
        self._next = start
        self._last: Stored | None = None
        self.begun_anew = 0
        """How often the log was found shorter than it had been: its store was lost, or a part of it."""

    def saw(self, message: Stored) -> None:
        """Go on behind ``message``."""
        self._last = message
        self._next = message.sequence + 1

    async def fresh(self, log: Log) -> list[Stored]:
        """Return what is new, at most a page of it.

        Raises:
            TransientError: the bus did not answer.
        """
        end = await log.last_sequence()
        start = self._next
        if end < self._next - 1:
            self.begun_anew += 1
            # By time, since sequences count from the beginning again.
            page = await log.page(start=self._behind_last(), subject=self._subject)
        elif end >= start:
            page = await log.page(start=start, subject=self._subject)
        else:
            return []
        for message in page.messages[-1:]:
            self.saw(message)
        if not page.left:
            # Past what is of others, which a filtered read would otherwise search again each time.
            self._next = max(end + 1, page.messages[-1].sequence + 1 if page.messages else 0)
        return page.messages

    def _behind_last(self) -> int | datetime:
        return self._last.stored_at + timedelta(microseconds=1) if self._last else 1
