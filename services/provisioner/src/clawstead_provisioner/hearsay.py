"""What the log says last need not be the last word: a message may be stored a second time, long after the first."""

from collections.abc import Callable, Mapping

import structlog

from clawstead_provisioner.memory import Memory
from clawstead_shared.events import Desired, Event, Observed, Payload, Phase
from clawstead_shared.messaging import EventReader
from clawstead_shared.subjects import Topic

log = structlog.get_logger()


async def newest_desired(reader: EventReader, instance_id: str, memory: Memory) -> Event[Payload] | None:
    """Return the desired state that counts: the newest, unless a newer generation was carried out already.

    Raises:
        TransientError: the bus did not answer.
    """
    event = await reader.newest(Topic.DESIRED, instance_id)
    known = memory.last.generation if memory.last else 0
    if event is not None and isinstance(event.data, Desired) and event.data.generation < known:
        log.warning("an old desired state was stored again", generation=event.data.generation, known=known)
        return await reader.newest_generation(instance_id)
    return event


def misheard(
    observed: Mapping[str, Event[Payload]],
    memories: Mapping[str, Memory],
    removed: dict[str, int],
    busy: Callable[[str], bool],
) -> set[str]:
    """Return the instances of which the log tells last what was not said last, marked to be told of again."""
    found = set()
    for instance_id, event in observed.items():
        memory = memories.get(instance_id)
        if memory is not None and memory.last is not None:
            if event.data != memory.last and not busy(instance_id):
                memory.unsaid = True
                found.add(instance_id)
        elif instance_id in removed and isinstance(event.data, Observed) and event.data.phase is not Phase.REMOVED:
            del removed[instance_id]
            found.add(instance_id)
    return found
