"""Asking a running service to handle the log again, page by page, as the command line does."""

from clawstead_shared.control import Effect, Failure, RebuildReport, ReplayReport, ReplayRequest, Verb
from clawstead_shared.messaging import Bus
from clawstead_shared.messaging.control import ask

_SECONDS = 60.0


async def replay(bus: Bus, service: str, **request: object) -> tuple[list[Effect], list[Failure]]:
    """Replay the whole log to ``service``; return the effects (of a dry run) and the failures."""
    effects: list[Effect] = []
    failures: list[Failure] = []
    start: int | None = 1
    up_to = await bus.log.last_sequence()
    while start is not None:
        asked = ReplayRequest.model_validate({"start": start, "up_to": up_to, **request})
        report = await ask(bus.broker.connection, service, Verb.REPLAY, asked, ReplayReport, timeout=_SECONDS)
        effects += report.effects
        failures += report.failures
        start = report.next
    return effects, failures


async def rebuild(bus: Bus, service: str) -> RebuildReport:
    """Have ``service`` build its projection anew."""
    return await ask(bus.broker.connection, service, Verb.REBUILD, None, RebuildReport, timeout=_SECONDS)
