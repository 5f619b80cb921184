"""The log was lost: nothing that runs suffers, what is known is said again, and what comes back finds what there is."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clawstead_provisioner.orphans import Orphans
from clawstead_provisioner.sweep import Sweep
from clawstead_shared.events import Desired, Phase
from clawstead_shared.subjects import Topic
from tests.support.fake_bus import FakeBus
from tests.support.profiles import PROFILES
from tests.support.provisioner_rig import FakeGateway, FakeSecrets, Rig, provisioner, wanted
from tests.support.wait import wait_until


class Age:
    """A log of a known age."""

    def __init__(self, begun: datetime) -> None:
        self.begun = begun


async def running(rig: Rig, count: int) -> list[Desired]:
    wants = [wanted() for _ in range(count)]
    for desired in wants:
        await rig.want(desired)
        await rig.until(desired.instance_id, Phase.RUNNING)
    return wants


async def test_what_was_said_last_is_said_again_without_a_desired_state(rig: Rig) -> None:
    wants = await running(rig, 2)
    before = await rig.bus.snapshot(Topic.OBSERVED)
    rig.bus.events.clear()
    rig.engine.calls.clear()
    rig.reconciler.renew()
    await wait_until(lambda: len(rig.bus.of(Topic.OBSERVED)) == 2)
    again = await rig.bus.snapshot(Topic.OBSERVED)
    assert {name: event.data for name, event in again.items()} == {name: event.data for name, event in before.items()}
    assert {event.id for event in again.values()}.isdisjoint({event.id for event in before.values()})
    assert rig.engine.calls == []
    for desired in wants:
        await rig.want(desired)
    assert len(rig.bus.of(Topic.OBSERVED)) == 2, "the desired states came back and changed nothing"


async def test_a_provisioner_that_starts_on_an_empty_log_knows_what_runs_once_it_is_wanted_again(
    rig: Rig, tmp_path: Path
) -> None:
    (desired,) = await running(rig, 1)
    container = rig.engine.containers[desired.instance_id].state
    async with provisioner(
        tmp_path,
        bus=FakeBus(),
        engine=rig.engine,
        gateway=FakeGateway(),
        secrets=FakeSecrets(),
        profiles=PROFILES,
        installation="test",
    ) as fresh:
        assert fresh.bus.events == []
        await fresh.want(desired)
        observed = await fresh.until(desired.instance_id, Phase.RUNNING)
        assert (observed.container_id, observed.port) == (container.id, container.port)
        assert fresh.phases(desired.instance_id) == [Phase.RUNNING], "no visitor sees a start that there was not"
    assert rig.engine.containers[desired.instance_id].state == container


async def test_ports_of_containers_that_nobody_knows_are_not_given_away(rig: Rig, tmp_path: Path) -> None:
    (desired,) = await running(rig, 1)
    port = rig.engine.containers[desired.instance_id].state.port
    settings = {"first_gateway_port": port, "last_gateway_port": port}
    async with provisioner(
        tmp_path,
        bus=FakeBus(),
        engine=rig.engine,
        gateway=FakeGateway(),
        secrets=FakeSecrets(),
        profiles=PROFILES,
        **settings,
    ) as fresh:
        other = wanted()
        await fresh.want(other)
        assert (await fresh.until(other.instance_id, Phase.FAILED)).reason == "ports_exhausted"


@pytest.mark.parametrize("older", [True, False])
async def test_a_container_older_than_the_log_is_nobodys_orphan(rig: Rig, older: bool) -> None:
    *_, orphan = await running(rig, 6)
    rig.bus.events = [event for event in rig.bus.events if event.instance_id != orphan.instance_id]
    begun = datetime.now(UTC) + timedelta(seconds=1 if older else -60)
    orphans = Orphans(grace_seconds=0, most_at_once=5)
    sweep = Sweep(rig.bus, rig.engine, rig.reconciler, rig.queue, rig.readiness, orphans=orphans, log_age=Age(begun))
    await sweep.once()
    await sweep.once()
    await wait_until(lambda: not rig.queue.busy(orphan.instance_id))
    assert (orphan.instance_id in rig.engine.containers) is older
