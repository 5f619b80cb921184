"""What the log alone says of instances: pure."""

import hashlib
from collections.abc import Mapping

from clawstead_health.verdict import Standing, Start, after_observation, after_restart
from clawstead_shared.control import Effect
from clawstead_shared.events import Event, Health, Observed, Verdict


def standing_of(event: Event[Observed], published: Health | None) -> Standing:
    """Return where an instance stands, given its newest observation and the verdict that was published last."""
    standing = after_observation(None, event.data, event.time)
    return standing if published is None else after_restart(standing, published)


def is_news(published: Health | None, standing: Standing) -> bool:
    """Say whether a standing is worth an event, given what was published last."""
    if published is None or published.verdict is Verdict.STOPPED:
        # Nothing ran, and nothing does yet: the first thing to tell is the start of a container.
        coming = standing.verdict is Verdict.STARTING and standing.start is None
        return not coming and (published is None or standing.verdict is not Verdict.STOPPED)
    return (published.verdict, published.container_id) != (standing.verdict, standing.container_id)


def foreseen(newest: Event[Observed], standing: Standing | None, published: Health | None) -> list[Effect]:
    """Return what learning ``newest`` does, given the ``standing`` that is known, None if it is not watched."""
    after = after_observation(standing, newest.data, newest.time) if standing else standing_of(newest, published)
    effects = []
    if is_news(published, after):
        effects.append(Effect(instance_id=newest.instance_id, action="publish verdict", detail=after.verdict.value))
    probed, probing = standing is not None and standing.start is not None, after.start is not None
    if probed != probing:
        action = "begin probing" if probing else "stop probing"
        effects.append(Effect(instance_id=newest.instance_id, action=action))
    return effects


def digest_of(known: Mapping[str, tuple[Verdict, Start | None]]) -> str:
    """Return what tells one watch list, with the verdicts and the starts that they are about, from another."""
    lines = [
        f"{instance_id} {verdict} {start.container_id if start else '-'} {start.started_at if start else '-'}"
        for instance_id, (verdict, start) in sorted(known.items())
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
