"""The log comes again, or is gone: no verdict is told twice, nothing forgotten, and nothing gone is probed."""

from typing import cast

import pytest

from clawstead_shared.control import Effect
from clawstead_shared.events import Phase, Verdict
from clawstead_shared.messaging.control import RefusedError
from clawstead_shared.subjects import Topic
from tests.unit.health.fakes import BAD, OK
from tests.unit.health.test_monitor import Stage


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def planned(stage: Stage, *, phase: Phase = Phase.RUNNING) -> list[tuple[str, str]]:
    """Return what handling an observation would do, after making sure that saying so did nothing."""
    before = (len(stage.bus.events), stage.monitor.standing(stage.instance_id))
    effects: list[Effect] = await stage.monitor.foresee([stage.observation(phase=phase)] * 2)
    assert (len(stage.bus.events), stage.monitor.standing(stage.instance_id)) == before
    return [(effect.action, effect.detail) for effect in effects]


async def test_a_replay_of_every_event_tells_no_verdict_twice(stage: Stage) -> None:
    events = [await stage.observed(phase=phase) for phase in (Phase.PROVISIONING, Phase.STARTING, Phase.RUNNING)]
    await stage.probed(OK)
    await stage.probed(BAD, BAD, BAD, after=90)
    told = list(stage.verdicts)
    assert told == [Verdict.STARTING, Verdict.HEALTHY, Verdict.UNHEALTHY]
    for monitor in (stage.monitor, stage.new_monitor()):
        for event in [*events, *events]:
            await monitor.on_observed(event)
    assert stage.verdicts == told


async def test_an_old_event_of_a_removed_instance_has_nobody_probed(stage: Stage) -> None:
    old = await stage.observed()
    await stage.probed(OK)
    await stage.observed(phase=Phase.REMOVED)
    told, asked = list(stage.verdicts), len(stage.gateway.asked)
    assert told[-1] is Verdict.STOPPED
    await stage.monitor.on_observed(old)
    await stage.monitor.probe(stage.instance_id)
    assert stage.verdicts == told
    assert len(stage.gateway.asked) == asked
    assert stage.monitor.standing(stage.instance_id) is None


async def test_a_dry_run_tells_verdicts_and_changes_of_the_watch_list(stage: Stage) -> None:
    await stage.bus.publish(stage.observation())
    assert await planned(stage) == [("publish verdict", "starting"), ("begin probing", "")]
    await stage.observed()
    await stage.probed(OK)
    assert await planned(stage) == []
    await stage.bus.publish(stage.observation(phase=Phase.STOPPED))
    assert await planned(stage) == [("publish verdict", "stopped"), ("stop probing", "")]
    await stage.bus.publish(stage.observation(phase=Phase.REMOVED))
    await stage.monitor.on_observed(stage.observation())
    assert await planned(stage) == []


async def test_a_rebuild_comes_to_the_same_and_repeats_no_verdict(stage: Stage) -> None:
    await stage.observed()
    await stage.probed(OK, after=1)
    told = list(stage.verdicts)
    first, second = await stage.monitor.rebuild(), await stage.monitor.rebuild()
    assert first.before == first.after == second.after
    assert first.entries == 1
    assert stage.verdicts == told
    await stage.probed(BAD, BAD, BAD, after=90)
    assert stage.verdicts[-1] is Verdict.UNHEALTHY, "it goes on probing"


async def test_a_rebuild_finds_what_was_missed_and_drops_what_the_log_does_not_hold(stage: Stage) -> None:
    other = Stage()
    other.bus, other.monitor = stage.bus, stage.monitor
    await stage.observed()
    await other.observed()
    missed = Stage()
    await stage.bus.publish(missed.observation())
    stage.bus.events = [event for event in stage.bus.events if event.instance_id != other.instance_id]
    report = await stage.monitor.rebuild()
    assert report.before != report.after
    assert stage.monitor.standing(other.instance_id) is None
    assert stage.monitor.standing(missed.instance_id) is not None
    assert (await stage.monitor.rebuild()).after == report.after


async def test_an_empty_log_is_no_reason_to_forget_everything(stage: Stage) -> None:
    await stage.observed()
    stage.bus.events.clear()
    with pytest.raises(RefusedError, match="the log holds nothing"):
        await stage.monitor.rebuild()
    await stage.monitor.resync()
    assert stage.monitor.standing(stage.instance_id) is not None


async def test_verdicts_are_told_again_to_a_new_log(stage: Stage) -> None:
    event = await stage.observed()
    await stage.probed(OK, after=1)
    before = (await stage.bus.newest(Topic.HEALTH, stage.instance_id)).data  # type: ignore[union-attr]
    stage.bus.events.clear()
    await stage.monitor.renew()
    assert stage.verdicts == [Verdict.HEALTHY]
    again = await stage.bus.newest(Topic.HEALTH, stage.instance_id)
    assert again is not None
    assert cast("object", again.data) == before
    await stage.bus.publish(event)
    await stage.monitor.on_observed(event)
    await stage.monitor.renew()
    assert stage.verdicts == [Verdict.HEALTHY] * 2
