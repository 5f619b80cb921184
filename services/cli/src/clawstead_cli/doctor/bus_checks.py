"""The bus: as declared, read by its consumers, with nothing set aside. Pure."""

from collections import Counter
from collections.abc import Iterator

from clawstead_cli.bus_state import ConsumerState
from clawstead_cli.doctor.facts import Facts, Finding, Severity
from clawstead_cli.durations import duration

_SLOW_SECONDS, _STUCK_SECONDS = 60.0, 600.0
_FULL, _NEARLY_FULL = 0.95, 0.80


def bus_findings(facts: Facts) -> Iterator[Finding]:
    """Judge streams, consumers, dead letters, notices and the outbox."""
    if facts.bus.value is not None:
        yield from _drift(facts)
        for consumer in facts.bus.value.state.consumers:
            yield from _consumer(consumer)
        yield from _streams(facts)
        yield from _notices(facts)
    yield from _outbox(facts)


def _drift(facts: Facts) -> Iterator[Finding]:
    why = "with other settings events get lost, stop, or come twice"
    todo = "the keeper puts it right within seconds; without it: `clawstead streams apply`"
    for drift in facts.bus.value.drifts if facts.bus.value else ():
        what = "it is missing" if drift.missing else f"it was altered: {'; '.join(drift.differences)}"
        yield Finding("bus", Severity.CRITICAL, f"{drift.kind} {drift.name}", what, why, todo)


def _consumer(consumer: ConsumerState) -> Iterator[Finding]:
    about = f"consumer {consumer.name}"
    oldest = consumer.oldest_pending_seconds or 0.0
    if oldest > _SLOW_SECONDS:
        waits = f"{consumer.pending + consumer.unacknowledged} events, the oldest for {duration(oldest)}"
        severity = Severity.CRITICAL if oldest > _STUCK_SECONDS else Severity.WARNING
        why = "what was ordered is not carried out"
        todo = f"`clawstead status`, `clawstead logs {consumer.name}`"
        yield Finding("lag", severity, about, f"it is behind: {waits}", why, todo)
    if consumer.dead_letters:
        what = f"it gave up {consumer.dead_letters} messages"
        why = "what they ask for was not done; a newer event of the same instance may have made up for it"
        yield Finding("dead letters", Severity.WARNING, about, what, why, "`clawstead dlq list`, then redrive or drop")


def _streams(facts: Facts) -> Iterator[Finding]:
    for stream in facts.bus.value.state.streams if facts.bus.value else ():
        if stream.fill > _NEARLY_FULL:
            severity = Severity.CRITICAL if stream.fill > _FULL else Severity.WARNING
            what, why = f"it is {stream.fill:.0%} full", "a full log takes no more changes"
            yield Finding("bus", severity, f"stream {stream.name}", what, why, "docs/runbooks/bus.md says what to do")


def _notices(facts: Facts) -> Iterator[Finding]:
    notices = facts.bus.value.state.notices if facts.bus.value else []
    for (kind, about), count in Counter((notice.kind, notice.about) for notice in notices).items():
        newest = max(
            (notice for notice in notices if (notice.kind, notice.about) == (kind, about)), key=lambda each: each.at
        )
        times = f", {count} times in a day" if count > 1 else ""
        what = f"{kind} at {newest.at:%H:%M:%S} UTC{times}: {newest.message}"
        yield Finding("notices", Severity.NOTE, about, what, "it was dealt with, or is a finding of its own", "read it")


def _outbox(facts: Facts) -> Iterator[Finding]:
    outbox = facts.outbox.value
    if outbox is None:
        return
    if outbox.quarantined:
        what = f"{outbox.quarantined} rows are quarantined: the bus can never take them"
        why = "changes that were accepted reach nobody; the next change of the instance makes up for it"
        yield Finding("outbox", Severity.WARNING, "the API's outbox", what, why, "`clawstead logs api`")
    if (oldest := outbox.oldest_seconds or 0.0) > _SLOW_SECONDS:
        what = f"{outbox.pending} rows wait, the oldest for {duration(oldest)}"
        why = "what was accepted is not carried out"
        yield Finding("outbox", Severity.WARNING, "the API's outbox", what, why, "`clawstead status`: is NATS there?")
