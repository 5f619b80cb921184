"""Reading the log for one command: where it begins and ends, one message, the newest ones, the fleet of a moment."""

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import nats.js.errors
from nats.aio.client import Client
from nats.js.api import StreamInfo

from clawstead_cli.adapters.jetstream import connected_client, jetstream_of
from clawstead_cli.deadline import Deadline
from clawstead_cli.errors import CommandError, UsageError
from clawstead_cli.fleet import Fleet
from clawstead_cli.moments import Moment
from clawstead_cli.nats_errors import explained
from clawstead_cli.settings import BusAddress
from clawstead_shared.ids import is_instance_id
from clawstead_shared.messaging.log import EVERYTHING, Log, Stored
from clawstead_shared.streams import STATE_STREAM
from clawstead_shared.subjects import ROOT, Topic, all_of, parse_subject, subject_of

_FIRST_WINDOW = 1000
_WINDOW_GROWTH = 4


@dataclass(frozen=True, slots=True)
class OpenLog:
    """The log, and the connection through which it is read."""

    client: Client
    log: Log
    first: int
    """Sequence of the oldest message that is held."""
    last: int
    """Sequence of the newest message when the log was opened, 0 if there never was one."""
    per_subject: int
    """How many messages of one topic and instance are held at most."""

    async def one(self, sequence: int) -> Stored:
        """Return one message.

        Raises:
            CommandError: it is not there.
        """
        page = await self.log.page(start=sequence, up_to=sequence, limit=1)
        if not page.messages:
            held = f"it holds {self.first} to {self.last}" if self.last else "it is empty"
            raise CommandError(f"the log has nothing at {sequence}; {held}")
        return page.messages[0]

    async def newest(self, subject: str, count: int) -> list[Stored]:
        """Return the last ``count`` messages of a subject, fewer if there are fewer."""
        window = max(count, _FIRST_WINDOW)
        while True:
            start = max(self.last - window + 1, self.first, 1)
            found: deque[Stored] = deque(maxlen=count)
            async for message in self.log.read(start=start, subject=subject):
                found.append(message)
            if len(found) >= count or start <= self.first:
                return list(found)
            window *= _WINDOW_GROWTH

    async def count(self, subject: str, start: int, up_to: int) -> int:
        """Return how many messages of a subject there are between two sequences, both inclusive."""
        return max(await self._from(subject, start) - await self._from(subject, up_to + 1), 0)

    async def _from(self, subject: str, start: int) -> int:
        page = await self.log.page(start=start, subject=subject, limit=1)
        return len(page.messages) + page.left

    async def sequence_at(self, moment: Moment) -> int:
        """Return the sequence of the first message at or after a moment; one beyond the end if there is none."""
        if isinstance(moment, int):
            return moment
        page = await self.log.page(start=moment, limit=1)
        return page.messages[0].sequence if page.messages else self.last + 1

    async def last_before(self, moment: Moment) -> int:
        """Return the sequence of the last message up to a moment, inclusive."""
        if isinstance(moment, int):
            return moment
        return await self.sequence_at(moment + timedelta(microseconds=1)) - 1

    async def fleet(self, moment: Moment, subject: str, on_read: Callable[[int], None]) -> Fleet:
        """Fold the log up to a moment, inclusive; ``on_read`` is told how many messages were read."""
        fleet = Fleet()
        up_to = moment if isinstance(moment, int) else None
        read = 0
        async for message in self.log.read(subject=subject, up_to=up_to):
            if isinstance(moment, datetime) and message.stored_at > moment:
                break
            fleet.add(message)
            read += 1
            if read % _FIRST_WINDOW == 0:
                on_read(read)
        return fleet

    async def crowded(self, subject: str) -> list[tuple[Topic, str]]:
        """Return the topics and instances of which the log holds as many messages as it may: older ones are gone."""
        info = await jetstream_of(self.client).stream_info(STATE_STREAM, subjects_filter=subject)
        full = [name for name, count in (info.state.subjects or {}).items() if count >= self.per_subject > 0]
        return [parse_subject(name) for name in sorted(full) if _is_ours(name)]


def _is_ours(subject: str) -> bool:
    try:
        parse_subject(subject)
    except ValueError:
        return False
    return True


@asynccontextmanager
async def opened_log(bus: BusAddress, deadline: Deadline) -> AsyncIterator[OpenLog]:
    """Connect to the bus and find the log; what fails on it in the block is raised in an operator's words.

    Raises:
        UnreachableError: NATS does not answer.
        CommandError: it has no log.
    """
    async with connected_client(bus, deadline) as client:
        with explained():
            info = await _info(client)
            state = info.state
            yield OpenLog(
                client=client,
                log=Log(lambda: client),
                first=state.first_seq,
                last=state.last_seq,
                per_subject=info.config.max_msgs_per_subject or 0,
            )


async def _info(client: Client) -> StreamInfo:
    try:
        return await jetstream_of(client).stream_info(STATE_STREAM)
    except nats.js.errors.NotFoundError as error:
        raise CommandError(
            f"NATS has no stream {STATE_STREAM}", hint="`clawstead streams apply` declares it"
        ) from error


def checked_instance(instance_id: str) -> str:
    """Return an instance id as it is in subjects.

    Raises:
        UsageError: it is none.
    """
    instance_id = instance_id.strip().lower()
    if not is_instance_id(instance_id):
        raise UsageError(
            f"{instance_id!r} is not an instance id", hint="26 letters and digits, as `clawstead state` shows"
        )
    return instance_id


def subject_for(topic: Topic | None = None, instance_id: str | None = None) -> str:
    """Return the subject of what is asked for; without anything, of the whole log.

    Raises:
        UsageError: ``instance_id`` is none.
    """
    if instance_id is None:
        return all_of(topic) if topic else EVERYTHING
    instance_id = checked_instance(instance_id)
    return subject_of(topic, instance_id) if topic else f"{ROOT}.*.{instance_id}"
