"""Who gets in: tickets, origins, paths, the instance's state. And the dashboard link."""

import asyncio
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from clawstead_shared.events import Phase
from clawstead_shared.ids import new_instance_id
from clawstead_shared.streams import KEYS_BUCKET, TICKET_KEY
from clawstead_shared.tickets import Purpose
from tests.integration.terminal.conftest import ORIGIN, Stage
from tests.support.tickets import TicketSigner

pytestmark = pytest.mark.docker


async def refused(stage: Stage, ticket: str, path: str = "/ws/terminal") -> tuple[int, str]:
    """Return the close code and error code that a ticket earns."""
    client = await stage.connect(path)
    await client.auth(ticket)
    code = await client.closed()
    assert client.controls[-1]["type"] == "error"
    assert client.controls[-1]["message"]
    return code, client.controls[-1]["code"]


async def test_a_ticket_opens_once(stage: Stage) -> None:
    ticket = stage.ticket()
    client = await stage.connect()
    await client.auth(ticket)
    await client.ready()
    assert await refused(stage, ticket) == (4401, "ticket_refused")


async def test_of_many_who_race_with_one_ticket_one_gets_in(stage: Stage) -> None:
    ticket = stage.ticket()
    clients = [await stage.connect() for _ in range(6)]
    for client in clients:
        await client.auth(ticket)
    await asyncio.gather(*(client.until(lambda client=client: client.controls) for client in clients))
    assert sorted(client.controls[0]["type"] for client in clients) == ["error"] * 5 + ["ready"]


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"age": 70}, "/ws/terminal"),
        ({"purpose": Purpose.DASHBOARD}, "/ws/terminal"),
        ({"purpose": Purpose.TERMINAL}, "/ws/dashboard"),
        ({"aud": "somebody-else"}, "/ws/terminal"),
        ({"exp": 4_000_000_000}, "/ws/terminal"),
        ({"jti": None}, "/ws/terminal"),
    ],
    ids=["expired", "wrong-purpose", "terminal-for-dashboard", "wrong-audience", "too-long", "no-id"],
)
async def test_a_ticket_that_does_not_fit_is_refused(stage: Stage, options: dict[str, Any], path: str) -> None:
    assert await refused(stage, stage.ticket(**options), path) == (4401, "ticket_refused")


async def test_a_ticket_of_another_signer_is_refused_until_its_key_is_published(stage: Stage) -> None:
    other = TicketSigner()
    assert (await refused(stage, other.sign(stage.instance.id)))[0] == 4401
    await (await stage.bus.bucket(KEYS_BUCKET)).put(TICKET_KEY, other.public_pem)
    client = await stage.connect()
    await client.auth(other.sign(stage.instance.id))
    await client.ready()


@pytest.mark.parametrize("garbage", ["", "a", "a.b.c", "x" * 5000])
async def test_garbage_is_refused(stage: Stage, garbage: str) -> None:
    client = await stage.connect()
    await client.auth(garbage)
    assert await client.closed() in {4400, 4401}


@pytest.mark.parametrize("frame", ["{", b"\x00", "[]", '{"type":"resize","cols":1,"rows":1}', '{"type":"auth"}'])
async def test_a_first_frame_that_is_no_ticket_is_refused(stage: Stage, frame: str | bytes) -> None:
    client = await stage.connect()
    await client.connection.send(frame)
    assert await client.closed() == 4400
    assert "malformed" in client.controls[-1]["code"]


async def test_a_client_that_says_nothing_is_closed(stage: Stage) -> None:
    await stage.service.restart(CLAWSTEAD_TERMINAL_AUTH_TIMEOUT="1")
    client = await stage.connect()
    assert await client.closed() == 4408


async def test_an_instance_that_nobody_knows_is_not_found(stage: Stage) -> None:
    assert await refused(stage, stage.signer.sign(new_instance_id())) == (4404, "no_such_instance")


@pytest.mark.parametrize(
    ("phase", "code"),
    [
        (Phase.STARTING, 4409),
        (Phase.STOPPED, 4409),
        (Phase.FAILED, 4409),
        (Phase.DELETING, 4404),
        (Phase.REMOVED, 4404),
    ],
)
async def test_only_a_running_instance_has_a_terminal(stage: Stage, phase: Phase, code: int) -> None:
    await stage.observe(phase=phase)
    assert (await refused(stage, stage.ticket()))[0] == code


async def test_a_container_that_is_not_the_instances_is_left_alone(stage: Stage) -> None:
    other = new_instance_id()
    await stage.observe(instance_id=other)
    assert (await refused(stage, stage.signer.sign(other)))[0] == 4409


async def test_a_container_that_died_unobserved_is_not_running(stage: Stage) -> None:
    await asyncio.to_thread(stage.instance.container.kill)
    assert (await refused(stage, stage.ticket()))[0] == 4409
    assert stage.service.journal() == []


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://claw.test:8443",
        "https://claw.test",
        "https://claw.test:8443.evil.example",
        "https://evil-claw.test:8443",
        "https://mine.claw.test:8443",
    ],
)
async def test_a_foreign_origin_is_refused_before_any_websocket_exists(stage: Stage, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        await stage.connect(origin=origin)
    assert refusal.value.response.status_code == 403


async def test_origins_are_what_the_settings_say(stage: Stage) -> None:
    assert await stage.connect(origin=None), "a program sends none, and is let in unless the settings say otherwise"
    await stage.service.restart(
        CLAWSTEAD_TERMINAL_ALLOW_MISSING_ORIGIN="false", CLAWSTEAD_TERMINAL_ALLOWED_ORIGINS="https://console.test/"
    )
    with pytest.raises(InvalidStatus):
        await stage.connect(origin=None)
    assert await stage.connect(origin="https://console.test")
    assert await stage.connect(origin=ORIGIN)


async def test_other_paths_are_not_found(stage: Stage) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        await stage.connect("/ws/other")
    assert refusal.value.response.status_code == 404


async def test_connections_have_a_bound(stage: Stage) -> None:
    await stage.service.restart(CLAWSTEAD_TERMINAL_MAX_CONNECTIONS="2")
    first, _ = await stage.connect(), await stage.connect()
    with pytest.raises(InvalidStatus) as refusal:
        await stage.connect()
    assert refusal.value.response.status_code == 503
    await first.connection.close()
    assert await stage.connect()


async def test_the_dashboard_link_signs_in_at_the_instances_own_address(stage: Stage) -> None:
    client = await stage.dashboard()
    assert await client.closed() == 1000
    assert client.controls == [
        {
            "type": "redirect",
            "url": "https://mine.claw.test:8443/#bootstrapToken=standin-token&bootstrapProfile=owner",
        }
    ]


async def test_an_instance_that_makes_no_link_in_time_is_an_error(stage: Stage) -> None:
    await stage.service.restart(CLAWSTEAD_TERMINAL_DASHBOARD_TIMEOUT="0.01")
    before = stage.instance.processes()
    client = await stage.dashboard()
    assert await client.closed() == 4500
    assert client.controls[-1]["code"] == "no_dashboard_link"
    await stage.left_nothing(before)
