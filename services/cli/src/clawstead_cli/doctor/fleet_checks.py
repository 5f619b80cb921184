"""Does the engine hold what is desired, and nothing else? Pure."""

from collections.abc import Iterator
from datetime import timedelta

from clawstead_cli.doctor.container_checks import object_name, running
from clawstead_cli.doctor.facts import Bus, Facts, Finding, Severity
from clawstead_shared.events import DesiredState, Phase

_PATIENCE = timedelta(minutes=5)
"""How long the provisioner may take before it counts as not working on it."""


def fleet_findings(facts: Facts) -> Iterator[Finding]:
    """Compare the containers with the desired states."""
    engine, bus = facts.engine.value, facts.bus.value
    if engine is None or bus is None:
        return
    found = running(engine)
    for instance_id in sorted(found.keys() - bus.desired.keys()):
        yield Finding(
            "fleet",
            Severity.CRITICAL,
            object_name(instance_id),
            "nobody desires this container: the log knows nothing of its instance",
            "it runs uncounted, or the log lost something; the provisioner removes a few such after their grace",
            "`clawstead logs provisioner`; if the log lost it: `clawstead resync`; else `docker rm -f` it",
        )
    for instance_id in sorted(bus.desired):
        yield from _instance(facts, bus, instance_id, found.get(instance_id))


def _instance(facts: Facts, bus: Bus, instance_id: str, runs: bool | None) -> Iterator[Finding]:
    desired, observed = bus.desired[instance_id], bus.observed.get(instance_id)
    if observed is None or observed.generation < desired.generation:
        if facts.now - bus.desired_at[instance_id] > _PATIENCE:
            waits = f"generation {desired.generation} ({desired.desired_state}) was ordered over five minutes ago"
            yield _finding(instance_id, f"{waits}, and nobody has taken it up", "its owner waits", "`clawstead status`")
        return
    if desired.desired_state is DesiredState.RUNNING and observed.phase is Phase.RUNNING and not runs:
        state = "has no container" if runs is None else "has a container that does not run"
        yield _finding(instance_id, f"it should run, is said to run, and {state}", "its owner cannot reach it")
    if desired.desired_state is DesiredState.STOPPED and observed.phase is Phase.STOPPED and runs:
        yield _finding(instance_id, "it is stopped, and its container runs", "it uses what nobody pays for")
    if desired.desired_state is DesiredState.DELETED and observed.phase is Phase.REMOVED and runs is not None:
        yield _finding(instance_id, "it is deleted, and its container is still there", "data that should be gone")


def _finding(instance_id: str, what: str, why: str, todo: str = "`clawstead logs provisioner`") -> Finding:
    return Finding("fleet", Severity.CRITICAL, instance_id, what, why, f"{todo}: does the provisioner work?")
