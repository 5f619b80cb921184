"""What the monitor does with observations and probes, with the bus, the gateways and the clock in memory."""

from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from clawstead_health.handlers import Monitor
from clawstead_shared.errors import TransientError
from clawstead_shared.events import Event, Health, Observed, Phase, Verdict
from clawstead_shared.ids import new_instance_id
from clawstead_shared.subjects import Topic
from tests.support.factories import make_observed, observed_event
from tests.support.fake_bus import FakeBus
from tests.unit.health.fakes import BAD, OK, FakeGateway, FakeHistory

T0 = datetime(2026, 1, 1, tzinfo=UTC)


class Stage:
    """A monitor and all that it touches."""

    def __init__(self) -> None:
        self.bus = FakeBus()
        self.gateway = FakeGateway()
        self.history = FakeHistory()
        self.clock = T0
        self.instance_id = new_instance_id()
        self.monitor = self.new_monitor()

    def new_monitor(self) -> Monitor:
        return Monitor(
            self.bus,
            self.gateway,
            self.history,
            interval=timedelta(seconds=15),
            interval_starting=timedelta(seconds=2),
            concurrency=4,
            now=lambda: self.clock,
        )

    def observation(self, **overrides: Any) -> Event[Observed]:
        defaults = {"container_id": "c1", "started_at": T0, "owner_id": "owner-1", "boot_grace_seconds": 60}
        return observed_event(make_observed(self.instance_id, **{**defaults, **overrides}))

    async def observed(self, **overrides: Any) -> Event[Observed]:
        """Publish an observation and deliver it."""
        event = self.observation(**overrides)
        await self.bus.publish(event)
        await self.monitor.on_observed(event)
        return event

    async def probed(self, *results: Any, after: float = 0) -> None:
        self.clock += timedelta(seconds=after)
        for self.gateway.result in results:
            await self.monitor.probe(self.instance_id)

    @property
    def verdicts(self) -> list[Verdict]:
        return [cast("Health", event.data).verdict for event in self.bus.of(Topic.HEALTH)]


@pytest.fixture
async def stage() -> Stage:
    return Stage()


async def test_happy_a_running_instance_is_probed_and_found_healthy(stage: Stage) -> None:
    await stage.observed(phase=Phase.STARTING)
    await stage.observed(phase=Phase.RUNNING)
    await stage.probed(OK)
    assert stage.verdicts == [Verdict.STARTING, Verdict.HEALTHY]
    assert stage.gateway.asked == [("127.0.0.1", 12345, "/startupz")]
    await stage.probed(OK)
    assert stage.gateway.asked[-1][2] == "/healthz"
    assert stage.verdicts == [Verdict.STARTING, Verdict.HEALTHY], "only changes are published"
    health = cast("Health", stage.bus.of(Topic.HEALTH)[-1].data)
    assert (health.container_id, health.since, health.restart_wanted) == ("c1", T0, None)
    check = stage.history.checks[0]
    assert (check.instance_id, check.customer_id, check.result) == (stage.instance_id, "owner-1", OK)


async def test_the_paths_that_are_probed_are_those_of_the_image(stage: Stage) -> None:
    await stage.observed(startup_path="/started", health_path="/alive")
    await stage.probed(OK, OK)
    assert [path for _, _, path in stage.gateway.asked] == ["/started", "/alive"]


async def test_duplicate_deliveries_publish_nothing_new(stage: Stage) -> None:
    event = await stage.observed()
    await stage.probed(OK)
    await stage.monitor.on_observed(event)
    await stage.monitor.on_observed(event)
    assert stage.verdicts == [Verdict.STARTING, Verdict.HEALTHY]


async def test_out_of_order_deliveries_end_in_the_newest_state(stage: Stage) -> None:
    running, stopped = stage.observation(), stage.observation(generation=2, phase=Phase.STOPPED)
    await stage.bus.publish(running)
    await stage.bus.publish(stopped)
    await stage.monitor.on_observed(stopped)
    await stage.monitor.on_observed(running)
    assert stage.verdicts == [Verdict.STOPPED]
    await stage.probed(OK)
    assert stage.gateway.asked == [], "what should not run is not probed"


async def test_an_outage_is_published_once_with_its_cause(stage: Stage) -> None:
    await stage.observed()
    await stage.probed(OK)
    await stage.probed(BAD, BAD, BAD, BAD, after=100)
    assert stage.verdicts == [Verdict.STARTING, Verdict.HEALTHY, Verdict.UNHEALTHY]
    health = cast("Health", stage.bus.of(Topic.HEALTH)[-1].data)
    assert (health.failures, health.error) == (3, "connection refused")


async def test_an_answer_about_an_earlier_start_is_ignored(stage: Stage) -> None:
    await stage.observed()

    async def restarted_meanwhile(*_: Any) -> Any:
        await stage.observed(started_at=T0 + timedelta(seconds=30))
        return OK

    stage.gateway.probe = restarted_meanwhile  # type: ignore[method-assign,assignment]
    await stage.monitor.probe(stage.instance_id)
    assert stage.verdicts == [Verdict.STARTING]
    assert stage.history.checks == []


async def test_an_unanswered_start_is_looked_at_again_soon_and_a_healthy_one_at_its_time(stage: Stage) -> None:
    await stage.observed()
    stage.gateway.result = BAD
    assert await stage.monitor.probe(stage.instance_id) == timedelta(seconds=2)
    stage.gateway.result = OK
    assert await stage.monitor.probe(stage.instance_id) is None


async def test_a_verdict_that_the_bus_did_not_take_is_published_with_the_next_probe(stage: Stage) -> None:
    await stage.observed()
    stage.bus.available = False
    await stage.probed(OK)
    stage.bus.available = True
    assert stage.verdicts == [Verdict.STARTING]
    await stage.probed(OK)
    assert stage.verdicts == [Verdict.STARTING, Verdict.HEALTHY]


async def test_an_observation_that_cannot_be_judged_now_is_handled_when_redelivered(stage: Stage) -> None:
    event = stage.observation()
    await stage.bus.publish(event)
    stage.bus.available = False
    with pytest.raises(TransientError):
        await stage.monitor.on_observed(event)
    stage.bus.available = True
    await stage.monitor.on_observed(event)
    assert stage.verdicts == [Verdict.STARTING]


async def test_a_removed_instance_is_told_once_and_forgotten(stage: Stage) -> None:
    running = await stage.observed()
    await stage.observed(phase=Phase.REMOVED)
    assert stage.monitor.standing(stage.instance_id) is None
    await stage.monitor.on_observed(running)
    assert stage.verdicts == [Verdict.STARTING, Verdict.STOPPED]
    assert stage.monitor.standing(stage.instance_id) is None


async def test_a_restarted_monitor_knows_all_and_repeats_nothing(stage: Stage) -> None:
    await stage.observed()
    stage.clock += timedelta(seconds=1)
    await stage.probed(OK)
    first_id = stage.instance_id
    stage.instance_id = new_instance_id()
    await stage.observed(phase=Phase.REMOVED)
    told = len(stage.bus.events)
    stage.monitor = stage.new_monitor()
    await stage.monitor.resync()
    assert len(stage.bus.events) == told
    standing = stage.monitor.standing(first_id)
    assert standing is not None
    assert standing.verdict is Verdict.HEALTHY
    assert stage.monitor.standing(stage.instance_id) is None


async def test_the_timer_finds_what_no_event_told(stage: Stage) -> None:
    await stage.observed()
    await stage.bus.publish(stage.observation(phase=Phase.STOPPED))
    await stage.monitor.resync()
    assert stage.verdicts == [Verdict.STARTING, Verdict.STOPPED]
