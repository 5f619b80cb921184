"""Whether an instance has been on its way for too long: pure, judged when someone looks.

The provisioner gives every phase a deadline of its own. This is for the case that it is not there to do so,
which is why nothing has to happen for an instance to count as stalled.
"""

from datetime import datetime, timedelta

from clawstead_api.tables import Instance, Status
from clawstead_shared.events import Observed, Phase

TAKEN_UP = timedelta(seconds=60)
"""After how long a change should have been taken up."""
_ON_THE_WAY = {
    Phase.PROVISIONING: timedelta(minutes=10),
    Phase.UPDATING: timedelta(minutes=10),
    Phase.STOPPING: timedelta(minutes=8),
    Phase.DELETING: timedelta(minutes=4),
}
"""How long each phase may go without a step forward: longer than a provisioner at work lets it."""
_FORCE = "if it stays so, delete the instance with force=true"


def stall_of(instance: Instance, status: Status | None, now: datetime) -> str | None:
    """Return what an instance waits for in vain and what to do about it, None if all is well."""
    observed = status.observation if status else None
    since = status.observed_at or status.updated_at if status and observed else None
    if observed is None or since is None or observed.generation < instance.generation:
        waited = now - max(instance.updated_at, since or instance.updated_at)
        if waited < TAKEN_UP:
            return None
        return f"nobody has taken up the last change for {_told(waited)}; see whether the provisioner runs"
    allowed = _allowed(observed)
    if allowed is None or now - since < allowed:
        return None
    return f"{observed.phase} without a step forward for {_told(now - since)}; see the provisioner's log, and {_FORCE}"


def _allowed(observed: Observed) -> timedelta | None:
    if observed.phase is Phase.STARTING:
        return timedelta(seconds=2 * observed.boot_grace_seconds) + TAKEN_UP
    if observed.phase is Phase.RUNNING and observed.progress:
        return _ON_THE_WAY[Phase.UPDATING]
    return _ON_THE_WAY.get(observed.phase)


def _told(duration: timedelta) -> str:
    return (
        f"{duration.total_seconds():.0f} s"
        if duration < timedelta(minutes=5)
        else f"{duration // timedelta(minutes=1)} min"
    )
