"""Desired states carried out, on a fake engine: the four cases of a subscriber, and each change of state."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from clawstead_provisioner.ports import Status
from clawstead_shared.errors import TransientError
from clawstead_shared.events import Channel, DesiredState, Phase, RestartRequest
from clawstead_shared.ids import new_instance_id
from clawstead_shared.subjects import Topic
from tests.support.factories import desired_event, make_spec
from tests.support.provisioner_rig import Rig, wanted
from tests.support.wait import wait_until

LOOKS = {"inspect", "list"}


async def test_a_created_instance_is_provisioned_started_and_running(rig: Rig) -> None:
    desired = wanted()
    await rig.want(desired)
    observed = await rig.until(desired.instance_id, Phase.RUNNING)
    assert rig.phases(desired.instance_id) == [Phase.PROVISIONING, Phase.STARTING, Phase.RUNNING]
    container = rig.engine.containers[desired.instance_id]
    assert (observed.container_id, observed.started_at) == (container.state.id, container.state.started_at)
    assert (observed.host, observed.port) == ("127.0.0.1", container.spec.port)
    assert observed.generation == 1
    assert observed.owner_id == desired.spec.owner_id
    config = json.loads((rig.settings.instances_dir / desired.instance_id / "config" / "openclaw.json").read_text())
    assert config["gateway"]["trustedProxies"] == [container.spec.network.gateway]


async def test_a_container_that_was_made_without_its_network_gets_one(rig: Rig) -> None:
    desired = wanted()
    await rig.want(desired)
    await rig.until(desired.instance_id, Phase.RUNNING)
    container = rig.engine.containers[desired.instance_id]
    container.state = replace(container.state, status=Status.CREATED, started_at=None)
    rig.engine.networks.discard(desired.instance_id)
    await rig.queue.submit(desired.instance_id)
    await wait_until(lambda: container.state.status is Status.RUNNING)
    await rig.until(desired.instance_id, Phase.RUNNING)
    assert Phase.FAILED not in rig.phases(desired.instance_id)


async def test_a_duplicate_is_only_looked_at(rig: Rig) -> None:
    desired = wanted()
    await rig.want(desired)
    await rig.until(desired.instance_id, Phase.RUNNING)
    before = len(rig.bus.events)
    rig.engine.calls.clear()
    await rig.want(desired)
    assert set(rig.engine.calls) <= LOOKS
    assert [event for event in rig.bus.events[before:] if event.topic is Topic.OBSERVED] == []


async def test_an_older_generation_out_of_order_changes_nothing(rig: Rig) -> None:
    desired = wanted()
    stopped = desired.model_copy(update={"generation": 2, "desired_state": DesiredState.STOPPED})
    old = desired_event(desired)
    await rig.bus.publish(old)
    await rig.want(stopped)
    await rig.until(desired.instance_id, Phase.STOPPED)
    rig.engine.calls.clear()
    await rig.queue.submit(old.instance_id)
    assert set(rig.engine.calls) <= LOOKS
    assert rig.phases(desired.instance_id) == [Phase.STOPPED]


async def test_an_instance_that_nobody_ever_wanted_is_left_alone(rig: Rig) -> None:
    await rig.queue.submit(new_instance_id())
    assert set(rig.engine.calls) <= LOOKS


async def test_deleting_leaves_nothing_and_says_so(rig: Rig) -> None:
    desired = wanted()
    await rig.want(desired)
    await rig.until(desired.instance_id, Phase.RUNNING)
    await rig.want(desired.model_copy(update={"generation": 2, "desired_state": DesiredState.DELETED}))
    observed = await rig.until(desired.instance_id, Phase.REMOVED)
    assert observed.generation == 2
    assert (observed.port, observed.container_id) == (None, None)
    assert rig.engine.containers == {}
    assert rig.engine.networks == set()
    assert list(rig.settings.instances_dir.iterdir()) == []


async def test_deleting_an_unknown_instance_says_removed_once(rig: Rig) -> None:
    desired = wanted(desired_state=DesiredState.DELETED)
    await rig.want(desired)
    await rig.want(desired)
    assert rig.phases(desired.instance_id) == [Phase.REMOVED]


async def test_an_instance_wanted_again_after_a_delete_stays_deleted_by_the_newest_word(rig: Rig) -> None:
    desired = wanted()
    deleted = desired.model_copy(update={"generation": 2, "desired_state": DesiredState.DELETED})
    await rig.bus.publish(desired_event(desired))
    await rig.want(deleted)
    await rig.queue.submit(desired.instance_id)
    assert rig.engine.containers == {}
    assert rig.phases(desired.instance_id) == [Phase.REMOVED]


async def test_stop_and_start_keep_container_port_and_data(rig: Rig) -> None:
    desired = wanted()
    await rig.want(desired)
    before = await rig.until(desired.instance_id, Phase.RUNNING)
    mine = rig.settings.instances_dir / desired.instance_id / "workspace" / "mine"
    mine.write_text("data")
    await rig.want(desired.model_copy(update={"generation": 2, "desired_state": DesiredState.STOPPED}))
    stopped = await rig.until(desired.instance_id, Phase.STOPPED)
    assert stopped.started_at is None
    assert stopped.port == before.port
    await rig.want(desired.model_copy(update={"generation": 3}))
    after = await rig.until(desired.instance_id, Phase.RUNNING)
    assert (after.container_id, after.port, after.restart_count) == (before.container_id, before.port, 0)
    assert after.started_at != before.started_at
    assert mine.read_text() == "data"


async def test_a_restart_happens_once_however_often_it_is_told(rig: Rig) -> None:
    desired = wanted()
    await rig.want(desired)
    before = await rig.until(desired.instance_id, Phase.RUNNING)
    request = RestartRequest(count=1, judged_start=before.started_at)
    restarted = desired.model_copy(update={"generation": 2, "restart": request})
    await rig.want(restarted)
    await wait_until(lambda: rig.phases(desired.instance_id).count(Phase.RUNNING) == 2)
    await rig.want(restarted)
    await rig.want(restarted)
    assert rig.phases(desired.instance_id)[3:] == [Phase.STOPPING, Phase.STARTING, Phase.RUNNING]
    after = await rig.until(desired.instance_id, Phase.RUNNING)
    assert after.started_at != before.started_at
    assert after.restart_count == 0


async def test_a_changed_channel_gets_a_new_container_on_the_same_port(rig: Rig) -> None:
    desired = wanted()
    await rig.want(desired)
    before = await rig.until(desired.instance_id, Phase.RUNNING)
    with_channel = make_spec(desired.instance_id, channel=Channel.TELEGRAM)
    await rig.want(desired.model_copy(update={"generation": 2, "spec": with_channel}))
    await wait_until(lambda: rig.phases(desired.instance_id).count(Phase.RUNNING) == 2)
    assert rig.phases(desired.instance_id)[3:] == [Phase.UPDATING, Phase.STARTING, Phase.RUNNING]
    after = await rig.until(desired.instance_id, Phase.RUNNING)
    assert after.container_id != before.container_id
    assert after.port == before.port


async def test_a_change_that_needs_no_container_only_moves_the_generation(rig: Rig) -> None:
    desired = wanted()
    await rig.want(desired)
    before = await rig.until(desired.instance_id, Phase.RUNNING)
    renamed = make_spec(desired.instance_id, name="renamed")
    rig.engine.calls.clear()
    await rig.want(desired.model_copy(update={"generation": 2, "spec": renamed}))
    after = await rig.observed(desired.instance_id)
    assert after == before.model_copy(update={"generation": 2})
    assert set(rig.engine.calls) <= {*LOOKS, "find"}


async def test_what_the_owner_broke_is_put_back_at_the_next_start(rig: Rig) -> None:
    desired = wanted()
    await rig.want(desired)
    await rig.until(desired.instance_id, Phase.RUNNING)
    await rig.want(desired.model_copy(update={"generation": 2, "desired_state": DesiredState.STOPPED}))
    await rig.until(desired.instance_id, Phase.STOPPED)
    path = rig.settings.instances_dir / desired.instance_id / "config" / "openclaw.json"
    path.write_text("{gateway: {bind: 'loopback'}, cron: {enabled: false}, /* mine */}")
    await rig.want(desired.model_copy(update={"generation": 3}))
    await rig.until(desired.instance_id, Phase.RUNNING)
    config = json.loads(path.read_text())
    assert config["gateway"]["bind"] == "lan"
    assert config["cron"] == {"enabled": False}


async def test_a_delete_ends_a_graceful_stop(rig: Rig) -> None:
    rig.engine.ends_after = timedelta(hours=1)
    desired = wanted()
    await rig.want(desired)
    await rig.until(desired.instance_id, Phase.RUNNING)
    await rig.want(desired.model_copy(update={"generation": 2, "desired_state": DesiredState.STOPPED}))
    await rig.until(desired.instance_id, Phase.STOPPING)
    async with asyncio.timeout(5):
        await rig.want(desired.model_copy(update={"generation": 3, "desired_state": DesiredState.DELETED}))
    assert rig.phases(desired.instance_id)[-2:] == [Phase.DELETING, Phase.REMOVED]
    assert rig.engine.containers == {}


async def test_a_gateway_that_hangs_after_closing_its_server_is_not_waited_for(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clawstead_provisioner.take_down._STOP_LOOK", timedelta(milliseconds=10))
    rig.engine.ends_after = timedelta(hours=1)
    desired = wanted()
    await rig.want(desired)
    await rig.until(desired.instance_id, Phase.RUNNING)
    object.__setattr__(rig.reconciler._tools.patience, "unresponsive_stop", timedelta(milliseconds=100))
    await rig.want(desired.model_copy(update={"generation": 2, "desired_state": DesiredState.STOPPED}))
    await asyncio.sleep(0.3)
    assert rig.phases(desired.instance_id)[-1] is Phase.STOPPING, "while it answers, it may be busy"
    rig.gateway.hung = True
    await rig.until(desired.instance_id, Phase.STOPPED)


async def test_a_long_stop_holds_no_other_instance(rig: Rig) -> None:
    rig.engine.ends_after = timedelta(hours=1)
    slow = [wanted() for _ in range(20)]
    await asyncio.gather(*(rig.want(desired) for desired in slow))
    for desired in slow:
        await rig.want(desired.model_copy(update={"generation": 2, "desired_state": DesiredState.STOPPED}))
    other = wanted()
    async with asyncio.timeout(5):
        await rig.want(other)
        await rig.until(other.instance_id, Phase.RUNNING)


async def test_a_start_during_a_stop_waits_for_its_end(rig: Rig) -> None:
    rig.engine.ends_after = timedelta(milliseconds=200)
    desired = wanted()
    await rig.want(desired)
    await rig.until(desired.instance_id, Phase.RUNNING)
    await rig.want(desired.model_copy(update={"generation": 2, "desired_state": DesiredState.STOPPED}))
    await rig.want(desired.model_copy(update={"generation": 3}))
    assert rig.engine.containers[desired.instance_id].state.status is Status.RUNNING
    await wait_until(lambda: rig.phases(desired.instance_id).count(Phase.RUNNING) == 2)
    assert (await rig.until(desired.instance_id, Phase.RUNNING)).restart_count == 0


async def test_a_bus_outage_is_transient_and_repaired(rig: Rig) -> None:
    desired = wanted()
    await rig.bus.publish(desired_event(desired))
    rig.bus.available = False
    with pytest.raises(TransientError):
        await rig.queue.submit(desired.instance_id)
    rig.bus.available = True
    await rig.queue.submit(desired.instance_id)
    await rig.until(desired.instance_id, Phase.RUNNING)


async def test_waiting_for_a_boot_holds_no_handler(rig: Rig) -> None:
    rig.gateway.up = False
    desired = wanted()
    async with asyncio.timeout(2):
        await rig.want(desired)
    observed = await rig.until(desired.instance_id, Phase.STARTING)
    await wait_until(lambda: rig.phases(desired.instance_id).count(Phase.STARTING) == 2)
    observed = await rig.until(desired.instance_id, Phase.STARTING)
    assert observed.started_at == rig.engine.containers[desired.instance_id].state.started_at
    rig.gateway.up = True
    await rig.until(desired.instance_id, Phase.RUNNING)


async def test_a_second_provisioner_takes_over_where_the_first_ended(rig: Rig) -> None:
    desired = wanted()
    await rig.want(desired)
    await rig.until(desired.instance_id, Phase.RUNNING)
    events = len(rig.bus.events)
    rig.reconciler._memories.clear()
    rig.engine.calls.clear()
    await rig.sweep.boot()
    assert len(rig.bus.events) == events
    assert set(rig.engine.calls) <= LOOKS
