"""What the API asks of the bus beyond events. ``adapters`` keeps it on NATS."""

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from clawstead_shared.control import InstanceLogs, LogsRequest
from clawstead_shared.events import Event, Payload
from clawstead_shared.hosts import HostBudget
from clawstead_shared.messaging.log import EVERYTHING, PAGE, Page


class SecretStore(Protocol):
    """Where sealed secrets wait for the provisioner. Both operations may be repeated."""

    async def put(self, instance_id: str, sealed: bytes) -> None:
        """Store the sealed secrets of an instance, replacing older ones.

        Raises:
            TransientError: the bus did not confirm in time.
        """
        ...

    async def forget(self, instance_id: str) -> None:
        """Delete the secrets of an instance; success when there are none.

        Raises:
            TransientError: the bus did not confirm in time.
        """
        ...

    async def created(self) -> datetime:
        """Return when the store was made (UTC): another time than before means that it was lost.

        Raises:
            TransientError: the bus did not answer in time.
        """
        ...

    def deposits(self) -> AsyncIterator[tuple[str, bytes]]:
        """Yield every instance id and what is stored for it.

        Raises:
            TransientError: the bus did not answer in time.
        """
        ...


class KeyDirectory(Protocol):
    """Where the services publish their public keys."""

    async def sealing_key(self) -> bytes | None:
        """Return the provisioner's public key, None if it was never published.

        Raises:
            TransientError: the bus did not answer in time.
        """
        ...

    async def publish_ticket_key(self, pem: bytes) -> None:
        """Publish the key that verifies our tickets; nothing happens when it is published already.

        Raises:
            TransientError: the bus did not confirm in time.
        """
        ...


class TokenDeposit(Protocol):
    """Where an encrypted copy of the tokens is kept."""

    async def token_copies(self) -> bytes | None:
        """Return what was kept last, None if nothing ever was.

        Raises:
            TransientError: the bus did not answer in time.
        """
        ...

    async def keep_token_copies(self, locked: bytes) -> None:
        """Keep this instead of what was kept before.

        Raises:
            TransientError: the bus did not confirm in time.
        """
        ...


class HostDirectory(Protocol):
    """Where provisioners publish what their hosts can hold."""

    async def host_budgets(self) -> list[HostBudget]:
        """Return the budget of every host that is known; one that cannot be read is left out.

        Raises:
            TransientError: the bus did not answer in time.
        """
        ...


@dataclass(frozen=True, slots=True)
class LogIdentity:
    """Which log it is. One that was lost and made again has another ``created`` (UTC) and counts from 1."""

    created: datetime
    last_sequence: int


class Archive(Protocol):
    """The whole log, read only."""

    async def identity(self) -> LogIdentity:
        """Return which log it is, and how far it goes.

        Raises:
            TransientError: the bus did not answer in time.
        """
        ...

    async def page(
        self, *, start: int | datetime = 1, subject: str = EVERYTHING, up_to: int | None = None, limit: int = PAGE
    ) -> Page:
        """Return at most ``limit`` messages from ``start`` on, none after the sequence ``up_to``.

        Raises:
            TransientError: the bus did not answer in time.
        """
        ...

    async def newest_of(self, subjects: Collection[str]) -> list[Event[Payload]]:
        """Return the newest event of each of ``subjects`` that has one; what is malformed does not count.

        Raises:
            TransientError: the bus did not answer in time.
        """
        ...


class InstanceOutput(Protocol):
    """Where the output of containers can be read."""

    async def read(self, request: LogsRequest) -> InstanceLogs:
        """Return the newest lines.

        Raises:
            LogsUnavailableError: nobody answers in time, or the container's output cannot be read.
        """
        ...
