"""What is read of the log at once: little of each instance, however many there are."""

from collections.abc import AsyncIterator
from dataclasses import replace
from weakref import WeakSet

import pytest

from clawstead_proxy_sync.errors import UnroutableError
from clawstead_proxy_sync.facts import RouteFacts
from clawstead_proxy_sync.log_view import Seen, Word, words
from clawstead_proxy_sync.nginx_map import Upstream
from clawstead_proxy_sync.routing import Claim
from clawstead_shared.events import Event, EventType, Observed, Payload, Phase, Route
from clawstead_shared.subjects import Topic
from tests.support.factories import make_observed, observed_event
from tests.support.fake_bus import FakeBus
from tests.unit.proxy_sync.test_reconcile import Bench

INSTANCES = 50


class CountingBus(FakeBus):
    """Hands out events of its own making, and counts how many of them are in memory at once."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: WeakSet[Payload] = WeakSet()
        self.most = 0

    async def each_newest(self, topic: Topic) -> AsyncIterator[Event[Payload]]:
        for event in self.of(topic):
            fresh = replace(event, data=event.data.model_copy())
            self.alive.add(fresh.data)
            self.most = max(self.most, len(self.alive))
            yield fresh


def word_of(observed: Observed) -> Word:
    return Word.of(replace(observed_event(observed), id="one", sequence=7))


async def test_of_many_observations_only_the_one_that_is_read_is_in_memory() -> None:
    bus = CountingBus()
    for _ in range(INSTANCES):
        await bus.publish(observed_event(make_observed()))
    found = await words(bus)
    assert list(found) == [event.instance_id for event in bus.of(Topic.OBSERVED)]
    assert bus.most <= 2


async def test_of_many_facts_only_the_one_that_is_read_is_in_memory() -> None:
    bus = CountingBus()
    routes = [
        Route(
            instance_id=it.instance_id,
            generation=1,
            hostname="a.test",
            upstream="127.0.0.1:1",
            active=True,
            map_generation=1,
        )
        for it in (make_observed() for _ in range(INSTANCES))
    ]
    for route in routes:
        await bus.publish(Event(EventType.ROUTE_CHANGED, "proxy-sync", route))
    facts = RouteFacts(bus)
    await facts.restore(bus)
    assert not any(facts.are_news(route) for route in routes)
    assert bus.most <= 2


def test_a_word_tells_what_the_edge_needs_of_an_observation() -> None:
    observed = make_observed(generation=3, port=5)
    label = observed.subdomain
    claim = Claim(label, Upstream("127.0.0.1", 5), ready=True)
    assert word_of(observed) == Word(observed.instance_id, 3, label, Seen("one", 7), claim, None)


def test_a_word_of_what_is_gone_claims_nothing() -> None:
    word = word_of(make_observed(phase=Phase.REMOVED))
    assert (word.claim, word.refusal) == (None, None)


async def test_a_word_says_why_there_can_be_no_route() -> None:
    observed = make_observed(subdomain="include")
    word = word_of(observed)
    assert (word.claim, word.refusal) == (None, "reserved name: include")
    bench = Bench()
    await bench.bus.publish(observed_event(observed))
    with pytest.raises(UnroutableError, match="reserved name: include"):
        await bench.keeper.refresh(observed.instance_id)
