"""What the owner or the operator should look after although the instance works: pure.

The messages hold no number that changes by itself: what is said is published again only when it changes.
"""

from clawstead_provisioner.ports import Container
from clawstead_provisioner.spec import heap_mib
from clawstead_shared.events import Desired, Phase, Warning, WarningCode

_MIB = 1024 * 1024
_GOING = frozenset({Phase.DELETING, Phase.REMOVED})


def warnings_of(
    desired: Desired, phase: Phase, container: Container | None, *, minimum_memory_bytes: int, over_quota: bool
) -> tuple[Warning, ...]:
    """Return what is worth a warning about an instance in ``phase``."""
    if phase in _GOING:
        return ()
    limits, found = desired.spec.limits, []
    if limits.memory_bytes < minimum_memory_bytes:
        message = (
            f"{limits.memory_bytes // _MIB} MiB of memory are less than the {minimum_memory_bytes // _MIB} MiB that "
            "the gateway was measured to need: it may be killed at work; choose a larger plan"
        )
        found.append(Warning(code=WarningCode.MEMORY_BELOW_MINIMUM, message=message))
    if over_quota and limits.workspace_bytes is not None:
        message = (
            f"the workspace holds more than its {limits.workspace_bytes // _MIB} MiB: delete files, or choose a "
            "larger plan"
        )
        found.append(Warning(code=WarningCode.WORKSPACE_OVER_QUOTA, message=message))
    if container is not None and container.active and container.heap_mib not in {None, heap_mib(desired)}:
        message = "the gateway's heap is still sized for an earlier memory limit: restart it when it suits you"
        found.append(Warning(code=WarningCode.RESTART_PENDING, message=message))
    return tuple(found)
