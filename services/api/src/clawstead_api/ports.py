"""What the API asks of the bus's key-value buckets. ``adapters.nats_buckets`` keeps it on NATS."""

from typing import Protocol

from clawstead_shared.hosts import HostBudget


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


class HostDirectory(Protocol):
    """Where provisioners publish what their hosts can hold."""

    async def host_budgets(self) -> list[HostBudget]:
        """Return the budget of every host that is known; one that cannot be read is left out.

        Raises:
            TransientError: the bus did not answer in time.
        """
        ...
