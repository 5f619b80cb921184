"""The bus for the drift audit: declarations compared, what is desired and observed, how far consumers are."""

from clawstead_cli.adapters.jetstream import connected_client, jetstream_of
from clawstead_cli.bus_state import BusState, consumer_states, recent_notices, stream_states
from clawstead_cli.deadline import Deadline
from clawstead_cli.doctor.facts import Bus
from clawstead_cli.nats_errors import explained
from clawstead_cli.settings import BusAddress
from clawstead_shared import topology
from clawstead_shared.events import Desired, Observed
from clawstead_shared.messaging.log import Log
from clawstead_shared.streams import STATE_STREAM
from clawstead_shared.subjects import Topic, all_of


async def bus_facts(bus: BusAddress, deadline: Deadline) -> Bus:
    """Look at everything; changes nothing.

    Raises:
        UnreachableError: NATS does not answer.
        CommandError: NATS refused.
    """
    async with connected_client(bus, deadline) as client:
        with explained():
            jetstream = jetstream_of(client)
            drifts = await topology.compare(jetstream)
            state = BusState(await stream_states(client), await consumer_states(client), await recent_notices(client))
            if any(drift.kind == "stream" and drift.name == STATE_STREAM and drift.missing for drift in drifts):
                return Bus(state, drifts, {}, {}, {}, None)
            log = Log(lambda: client)
            desired = await log.newest_events(all_of(Topic.DESIRED))
            observed = await log.newest_events(all_of(Topic.OBSERVED))
            newest = await log.page(start=max(await log.last_sequence(), 1), limit=1)
    return Bus(
        state=state,
        drifts=drifts,
        desired={event.instance_id: event.data for event in desired if isinstance(event.data, Desired)},
        observed={event.instance_id: event.data for event in observed if isinstance(event.data, Observed)},
        desired_at={event.instance_id: event.time for event in desired},
        newest_at=newest.messages[0].stored_at if newest.messages else None,
    )
