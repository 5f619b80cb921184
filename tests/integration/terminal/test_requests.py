"""What is asked of a running gateway over the bus: an instance's output, and another look at its sessions."""

import asyncio

import pytest

from clawstead_shared.control import InstanceLogs, LogsRequest, Verb
from clawstead_shared.events import Phase
from clawstead_shared.ids import new_instance_id
from clawstead_shared.messaging.control import RefusedError, ask
from tests.integration.terminal.conftest import Stage
from tests.support.factories import make_observed, observed_event
from tests.support.replaying import rebuild

pytestmark = pytest.mark.docker

STRANGE = r"printf 'plain\n\033[31mred\033[0m \360\237\246\236\n\377\000bytes\n' > /proc/1/fd/1; echo oh > /proc/1/fd/2"


async def logs(stage: Stage, **request: object) -> InstanceLogs:
    asked = LogsRequest.model_validate({"instance_id": stage.instance.id, **request})
    return await ask(stage.bus.broker.connection, "terminal", Verb.LOGS, asked, InstanceLogs, timeout=10)


async def write(stage: Stage, command: str) -> None:
    done = await asyncio.to_thread(stage.instance.container.exec_run, ["sh", "-c", command])
    assert done.exit_code == 0, done.output


async def test_the_newest_lines_come_safe_to_show(stage: Stage) -> None:
    await write(stage, STRANGE)
    found = await logs(stage)
    shown = [line.text for line in found.lines if line.stream == "stdout"]
    assert shown[-3:] == ["plain", "red 🦞", "\ufffdbytes"]
    assert [line.text for line in found.lines if line.stream == "stderr"][-1:] == ["oh"]
    assert all(line.time for line in found.lines)
    assert len((await logs(stage, tail=2)).lines) == 2
    await write(stage, "i=0; while [ $i -lt 400 ]; do printf '%01000d\\n' 0; i=$((i+1)); done > /proc/1/fd/1")
    large = await logs(stage, tail=1000)
    assert large.truncated
    assert len(large.model_dump_json()) < 256 * 1024


async def test_an_instance_without_a_container_is_refused_with_the_reason(stage: Stage) -> None:
    with pytest.raises(RefusedError, match="not known"):
        await logs(stage, instance_id=new_instance_id())
    with pytest.raises(RefusedError, match="not the instance's"):
        await logs(stage, instance_id=new_instance_id(), container_id=stage.instance.container.id)
    with pytest.raises(RefusedError, match="not a container id"):
        await logs(stage, container_id="../images")
    await stage.observe(phase=Phase.STOPPED, container_id="0" * 64)
    with pytest.raises(RefusedError, match="has no container"):
        await logs(stage)
    await stage.observe(phase=Phase.PROVISIONING, container_id=None)
    with pytest.raises(RefusedError, match="it is provisioning"):
        await logs(stage)


async def test_only_containers_of_the_installation_are_read(stage: Stage) -> None:
    await stage.service.restart(CLAWSTEAD_INSTALLATION="another")
    with pytest.raises(RefusedError, match="not the instance's"):
        await logs(stage)


async def test_sessions_are_judged_again_and_those_of_running_instances_go_on(stage: Stage) -> None:
    client = await stage.open()
    await stage.bus.publish(observed_event(make_observed(phase=Phase.STOPPED)))
    first, second = await rebuild(stage.bus, "terminal"), await rebuild(stage.bus, "terminal")
    assert first.before == first.after == second.after
    assert first.entries == 2
    await client.run("echo still $((1+1))", "still 2")
