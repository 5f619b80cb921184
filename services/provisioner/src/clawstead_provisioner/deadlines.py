"""How long a phase may last that is on its way to another: pure.

``starting`` is not among them: a gateway that boots is watched, and told apart as ``start_timeout``.
"""

from dataclasses import dataclass

from clawstead_provisioner.memory import Memory
from clawstead_shared.events import Observed, Phase

_ADVICE = "it is tried again by itself; if that does not help, look at the provisioner's log, or delete it with force"


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds by phase."""

    provisioning: float = 1800
    stopping: float = 420
    deleting: float = 180

    def left(self, memory: Memory) -> float | None:
        """Return the seconds until the phase that was said last has lasted too long; None if it may last."""
        last = memory.last
        limit = self._limit(last.phase) if last is not None else None
        return None if limit is None else limit - memory.phase_age()

    def passed(self, memory: Memory) -> bool:
        """Say whether the phase that was said last has lasted too long."""
        left = self.left(memory)
        return left is not None and left <= 0

    def message(self, last: Observed, detail: str = "") -> str:
        """Return what to say of an instance whose phase has lasted too long."""
        doing = last.progress.step if last.progress else "its container is not there"
        waited = {
            Phase.PROVISIONING: f"was not made: {doing}",
            Phase.UPDATING: "was not given its new container: the old one did not end, or the new one is not there",
            Phase.STOPPING: "did not stop: the container engine could not end it",
            Phase.DELETING: "was not removed",
        }[last.phase]
        because = f" ({detail})" if detail else ""
        return f"the instance {waited} within {self._limit(last.phase):.0f} s{because}; {_ADVICE}"

    def _limit(self, phase: Phase) -> float | None:
        return {
            Phase.PROVISIONING: self.provisioning,
            Phase.UPDATING: self.provisioning,
            Phase.STOPPING: self.stopping,
            Phase.DELETING: self.deleting,
        }.get(phase)
