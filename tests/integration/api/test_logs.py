"""An instance's own output, asked of the terminal service."""

from collections.abc import AsyncIterator

import httpx
import pytest

from clawstead_api.adapters.terminal_logs import TerminalLogs
from clawstead_api.errors import LogsUnavailableError
from clawstead_shared.control import InstanceLogs, LogLine, LogsRequest, Verb
from clawstead_shared.events import Phase
from clawstead_shared.ids import new_instance_id
from clawstead_shared.messaging import Bus
from clawstead_shared.messaging.control import Control, RefusedError
from tests.support.api import Api


@pytest.fixture
async def instance_id(api: Api, client: httpx.AsyncClient) -> str:
    created: str = (await client.post("/instances", json={"name": "claw", "plan": "pro"})).json()["id"]
    await api.observe(created, Phase.RUNNING, container_id="c1")
    return created


async def test_the_owner_reads_the_newest_lines_without_the_token(
    api: Api, client: httpx.AsyncClient, instance_id: str
) -> None:
    token = (await client.get(f"/instances/{instance_id}")).json()["gateway_token"]
    api.output.answer = InstanceLogs(lines=(LogLine(stream="stderr", text=f"token={token}!"),), truncated=True)
    answer = await client.get(f"/instances/{instance_id}/logs", params={"tail": 7})
    assert answer.status_code == 200
    assert answer.json() == {
        "lines": [{"time": None, "stream": "stderr", "text": "token=[hidden]!"}],
        "truncated": True,
    }
    assert api.output.asked == [LogsRequest(instance_id=instance_id, container_id="c1", tail=7)]


async def test_what_cannot_be_read_now_can_be_tried_again(
    api: Api, client: httpx.AsyncClient, instance_id: str
) -> None:
    api.output.answer = LogsUnavailableError("terminal does not run")
    answer = await client.get(f"/instances/{instance_id}/logs")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "terminal does not run" in answer.json()["detail"]


async def test_others_instances_and_nonsense_are_refused(client: httpx.AsyncClient, instance_id: str) -> None:
    assert (await client.get(f"/instances/{new_instance_id()}/logs")).status_code == 404
    for tail in ("0", "1001", "all"):
        assert (await client.get(f"/instances/{instance_id}/logs?tail={tail}")).status_code == 422


@pytest.fixture
async def terminal(bus: Bus) -> AsyncIterator[Control]:
    control = Control("terminal")
    yield control
    control.stop()


async def test_the_terminal_service_is_asked_over_the_bus(bus: Bus, terminal: Control) -> None:
    request = LogsRequest(instance_id=new_instance_id(), tail=1)
    logs = TerminalLogs(bus)
    with pytest.raises(LogsUnavailableError, match="does not run"):
        await logs.read(request)

    async def answer(body: bytes) -> InstanceLogs:
        asked = LogsRequest.model_validate_json(body)
        if asked.container_id == "gone":
            raise RefusedError("the instance has no container")
        return InstanceLogs(lines=(LogLine(text=asked.instance_id),))

    terminal.answer(Verb.LOGS, answer)
    await terminal.start(bus.broker.connection)
    assert (await logs.read(request)).lines[0].text == request.instance_id
    with pytest.raises(LogsUnavailableError, match="no container"):
        await logs.read(request.model_copy(update={"container_id": "gone"}))
