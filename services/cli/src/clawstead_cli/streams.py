"""Applying the declarations of the bus, on whatever server ``CLAWSTEAD_NATS_URL`` names."""

from clawstead_cli.adapters.jetstream import connected
from clawstead_cli.deadline import Deadline
from clawstead_cli.errors import CommandError
from clawstead_cli.nats_errors import explained
from clawstead_cli.settings import BusAddress
from clawstead_shared import topology


async def apply_streams(bus: BusAddress, deadline: Deadline) -> list[topology.Change]:
    """Declare streams, consumers and buckets; repairs drift, deletes nothing stored.

    Raises:
        UnreachableError: NATS does not answer.
        CommandError: NATS refused.
    """
    async with connected(bus, deadline) as jetstream:
        with explained():
            changes = await topology.apply(jetstream)
    if refused := [f"{change.kind} {change.name}: {change.error}" for change in changes if change.error]:
        raise CommandError("NATS refused: " + "; ".join(refused), hint="docs/runbooks/bus.md says what to do")
    return changes
