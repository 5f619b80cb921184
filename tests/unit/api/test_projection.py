"""Since when an instance has been as it is: the same whether events are handled at once, late or again."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from clawstead_api.projection import apply_newest
from clawstead_api.tables import Status
from clawstead_shared.events import Event, Observed, Phase
from clawstead_shared.ids import new_instance_id
from tests.support.factories import make_observed, observed_event

INSTANCE = new_instance_id()
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def said(phases: list[Phase]) -> list[Event[Observed]]:
    return [
        Event(event.type, "provisioner", event.data, time=BEGIN + timedelta(seconds=number))
        for number, phase in enumerate(phases)
        for event in [observed_event(make_observed(INSTANCE, phase=phase))]
    ]


def since(events: list[Event[Observed]]) -> datetime:
    begun = events[-1].time
    for event in reversed(events):
        if event.data != events[-1].data:
            break
        begun = event.time
    return begun


@pytest.mark.parametrize("seed", range(30))
def test_saying_the_same_again_does_not_count(seed: int) -> None:
    chance = random.Random(seed)
    events = said(chance.choices([Phase.STARTING, Phase.RUNNING], k=12))
    status, handled, newest = Status(instance_id=INSTANCE), 0, 0
    while handled < len(events):
        page = events[handled : handled + chance.randint(1, 4)]
        handled += len(page)
        newest = max(newest, min(handled + chance.randint(0, 6), len(events)) - 1)
        apply_newest(status, events[newest], page)
    assert status.observed_at == since(events)
    assert status.phase == events[-1].data.phase
    assert not apply_newest(status, events[-1], ()), "again changes nothing"
