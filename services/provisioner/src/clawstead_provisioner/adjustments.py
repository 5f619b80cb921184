"""What a change of plan means for a container that there is: pure."""

from clawstead_provisioner.memory import Memory
from clawstead_provisioner.ports import Container
from clawstead_provisioner.spec import Resources, heap_mib
from clawstead_shared.events import Desired, Phase, Reason


def adjusted(memory: Memory, desired: Desired, container: Container | None) -> bool:
    """Say whether a container was given what it can be given while it runs."""
    if container is None or memory.adjusted is not None:
        return container is None or memory.adjusted == (container.id, desired.generation)
    last = memory.last
    return (
        last is not None
        and last.phase is Phase.RUNNING
        and last.reason in {None, Reason.UPDATE_ROLLED_BACK}
        and last.generation >= desired.generation
    )


def outgrown(container: Container, resources: Resources, desired: Desired) -> bool:
    """Say whether a container has other limits than it should have, or its process another heap."""
    return container.resources != resources or container.heap_mib != heap_mib(desired)
