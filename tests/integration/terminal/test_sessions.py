"""Terminal sessions, end to end: a real bus, a real engine, a real WebSocket."""

import asyncio
import json
import signal
from typing import cast

import psutil
import pytest

from clawstead_shared.events import EventType, Phase, Terminal
from clawstead_shared.subjects import Topic
from tests.integration.terminal.conftest import Stage
from tests.support.terminal_client import TerminalClient
from tests.support.wait import wait_until

pytestmark = pytest.mark.docker


async def newest(stage: Stage) -> tuple[EventType, Terminal]:
    event = await stage.bus.newest(Topic.TERMINAL, stage.instance.id)
    assert event
    return event.type, cast("Terminal", event.data)


async def closed_reason(stage: Stage) -> str | None:
    event = await stage.bus.newest(Topic.TERMINAL, stage.instance.id)
    end = cast("Terminal", event.data).end if event else None
    return end.reason if end else None


async def test_a_shell_answers_as_the_instances_own_user(stage: Stage) -> None:
    client = await stage.open()
    assert "uid=1000" in await client.run("id", "gid=1000")
    assert "xterm-256color" in await client.run("echo $TERM", "xterm-256color\r\n")
    await client.connection.close()


async def test_the_screen_has_its_size_from_the_first_moment_and_follows_the_window(stage: Stage) -> None:
    client = await stage.open(cols=123, rows=45)
    assert "45 123" in await client.run("stty size", "45 123")
    for rows in range(20, 31):
        await client.control(type="resize", cols=90, rows=rows)

    async def followed() -> bool:
        return "30 90" in await client.run("stty size; echo as''ked", "asked")

    await wait_until(followed, what="the last size")


async def test_all_bytes_pass_unchanged_even_those_that_make_docker_detach(stage: Stage) -> None:
    client = await stage.open()
    await client.run("stty raw -echo; echo rea''dy; cat", "ready")
    await asyncio.sleep(0.1)
    sent = bytes(range(256)) * 200
    await client.connection.send(sent[:30000])
    await client.connection.send(sent[30000:])
    received = bytearray()
    async with asyncio.timeout(10):
        while not received.endswith(sent):
            frame = await client.connection.recv()
            assert isinstance(frame, bytes), frame
            received += frame


async def test_no_single_key_is_held_back(stage: Stage) -> None:
    client = await stage.open()
    await client.run("stty raw -echo; echo rea''dy; cat", "ready")
    await asyncio.sleep(0.1)
    for key in range(1, 256):
        await client.connection.send(bytes([key]))
        async with asyncio.timeout(10):
            while (frame := await client.connection.recv()) != bytes([key]):
                assert not isinstance(frame, str), frame


async def test_the_exit_code_arrives_before_an_orderly_close(stage: Stage) -> None:
    before = stage.instance.processes()
    client = await stage.open()
    await client.connection.send(b"sleep 1000 & exit 7\n")
    assert await client.closed() == 1000
    assert client.controls[-1] == {"type": "exit", "code": 7}
    await stage.left_nothing(before)
    await wait_until(lambda: closed_reason(stage))
    type_, terminal = await newest(stage)
    assert type_ is EventType.SESSION_CLOSED
    assert terminal.end
    assert (terminal.end.reason, terminal.end.exit_code) == ("exited", 7)


async def test_opening_and_closing_are_published_with_who_and_from_where(stage: Stage) -> None:
    client = await stage.connect(additional_headers={"X-Forwarded-For": "203.0.113.9"})
    await client.auth(stage.ticket())
    session_id = await client.ready()
    type_, terminal = await newest(stage)
    assert type_ is EventType.SESSION_OPENED
    assert (terminal.session_id, terminal.owner_id, terminal.remote) == (session_id, "owner-1", "203.0.113.9")
    assert (terminal.open_sessions, terminal.end) == (1, None)
    assert len(stage.service.journal()) == 1
    await client.connection.close()
    assert await wait_until(lambda: closed_reason(stage)) == "client_left"
    assert (await newest(stage))[1].open_sessions == 0
    await wait_until(lambda: not stage.service.journal())


@pytest.mark.parametrize(
    "command",
    [
        "sleep 1001",
        "sleep 1001 & sleep 1002 & sleep 1003",
        "(trap '' HUP; exec sleep 1001) & sh",
        "setsid sleep 1001 & sleep 1002",
        "trap '' HUP TERM INT; sh -c 'while :; do sleep 1; done'",
        "env -i /bin/sh -c 'sleep 1001 & sleep 1002'",
        "sh -c 'kill -STOP $$'",
        "cat",
    ],
)
async def test_a_client_that_vanishes_leaves_nothing_running(stage: Stage, command: str) -> None:
    before = stage.instance.processes()
    client = await stage.open()
    await client.connection.send(command.encode() + b"\n")
    await wait_until(lambda: len(stage.instance.processes()) > len(before) + 1 or "trap" in command)
    client.vanish()
    await stage.left_nothing(before)


async def test_a_client_that_answers_no_ping_has_vanished(stage: Stage) -> None:
    await stage.service.restart(CLAWSTEAD_TERMINAL_PING_INTERVAL="1", CLAWSTEAD_TERMINAL_PING_TIMEOUT="2")
    before = stage.instance.processes()
    client = await stage.open()
    await client.run("sleep 1001 & echo star''ted", "started")
    client.connection.transport.pause_reading()
    await stage.left_nothing(before)


async def test_a_killed_gateway_leaves_sessions_that_the_next_one_ends(stage: Stage) -> None:
    before = stage.instance.processes()
    client = await stage.open()
    await client.run("(trap '' HUP; exec sleep 1001) & echo star''ted", "started")
    await wait_until(lambda: "sleep 1001" in str(stage.instance.processes()))
    await stage.service.end(signal.SIGKILL)
    assert "sleep 1001" in str(stage.instance.processes())
    await stage.service.start()
    await stage.left_nothing(before)
    assert await wait_until(lambda: closed_reason(stage)) == "gateway_lost"
    assert stage.service.journal() == []


async def test_two_gateways_on_one_directory_leave_each_others_sessions_alone(stage: Stage) -> None:
    client = await stage.open()
    second = type(stage.service)(stage.service._environment["CLAWSTEAD_NATS_URL"], stage.service.data_dir)
    await second.start()
    await asyncio.sleep(1)
    await client.run("echo al''ive", "alive")
    await second.end(signal.SIGTERM)
    await client.run("echo al''ive", "alive")


async def test_told_to_stop_the_gateway_closes_sessions_and_leaves_nothing(stage: Stage) -> None:
    before = stage.instance.processes()
    client = await stage.open()
    await client.run("sleep 1001 & echo star''ted", "started")
    ending = asyncio.create_task(stage.service.end(signal.SIGTERM))
    assert await client.closed() == 1001
    assert await ending == 0
    assert stage.instance.processes() == before
    assert await closed_reason(stage) == "gateway_stopped"
    assert stage.service.journal() == []


@pytest.mark.parametrize("phase", [Phase.STOPPING, Phase.DELETING, Phase.FAILED])
async def test_an_instance_that_goes_away_closes_its_sessions_with_the_reason(stage: Stage, phase: Phase) -> None:
    client = await stage.open()
    await stage.observe(phase=phase)
    assert await client.closed() == 4409
    assert client.controls[-1]["code"] == f"instance_{phase}"
    assert await wait_until(lambda: closed_reason(stage)) == f"instance_{phase}"


async def test_a_killed_container_ends_the_session(stage: Stage) -> None:
    client = await stage.open()
    await asyncio.to_thread(stage.instance.container.kill)
    assert await client.closed() in {1000, 4409}
    await wait_until(lambda: closed_reason(stage))
    await wait_until(lambda: not stage.service.journal())


async def test_an_idle_session_and_an_endless_one_are_ended(stage: Stage) -> None:
    await stage.service.restart(CLAWSTEAD_TERMINAL_IDLE_TIMEOUT="0.7")
    client = await stage.open()
    assert await client.closed() == 4408
    assert client.controls[-1]["code"] == "idle"
    await stage.service.restart(CLAWSTEAD_TERMINAL_IDLE_TIMEOUT="30", CLAWSTEAD_TERMINAL_MAX_DURATION="2")
    client = await stage.open()
    await client.connection.send(b"while sleep 0.2; do echo busy; done\n")
    assert await client.closed() == 4408
    assert client.controls[-1]["code"] == "time_over"


async def test_an_instance_has_a_bound_of_sessions(stage: Stage) -> None:
    await stage.service.restart(CLAWSTEAD_TERMINAL_MAX_SESSIONS_PER_INSTANCE="2")
    first, _ = await stage.open(), await stage.open()
    third = await stage.connect()
    await third.auth(stage.ticket())
    assert await third.closed() == 4429
    await first.connection.close()
    await wait_until(lambda: len(stage.service.journal()) == 1)
    assert await stage.open()


async def test_a_slow_reader_holds_the_program_up_and_others_go_on(stage: Stage) -> None:
    slow, other = await stage.open(), await stage.open()
    await slow.connection.send(b"yes\n")
    await asyncio.sleep(1)
    await other.run("echo al''ive", "alive")
    assert stage.service.process
    rss = psutil.Process(stage.service.process.pid).memory_info().rss
    assert rss < 200 * 1024**2
    await slow.connection.send(b"\x03")


async def test_a_frame_above_64_kib_ends_the_session(stage: Stage) -> None:
    before = stage.instance.processes()
    client = await stage.open()
    await client.connection.send(b"x" * (64 * 1024 + 1))
    assert await client.closed() == 1009
    await stage.left_nothing(before)


@pytest.mark.parametrize("frame", ["not json", "[]", '{"type":"resize","cols":0,"rows":1}', '{"type":"nonsense"}'])
async def test_a_malformed_control_frame_ends_the_session(stage: Stage, frame: str) -> None:
    before = stage.instance.processes()
    client = await stage.open()
    await client.connection.send(frame)
    assert await client.closed() == 4400
    assert client.controls[-1]["code"] == "malformed_frame"
    await stage.left_nothing(before)


async def test_many_sessions_at_once_do_not_mix(stage: Stage) -> None:
    before = stage.instance.processes()

    async def one(number: int) -> TerminalClient:
        client = await stage.open()
        await client.run(f"echo mine-$(({number} * 1000))", f"mine-{number * 1000}\r\n")
        return client

    clients = await asyncio.gather(*(one(number) for number in range(1, 9)))
    for client in clients:
        client.vanish()
    await stage.left_nothing(before)


async def test_a_session_that_used_up_all_process_ids_is_ended_too(stage: Stage) -> None:
    before = stage.instance.processes()
    client = await stage.open()
    await client.connection.send(b"while :; do sleep 1000 & done\n")
    await client.until(lambda: "fork" in client.screen)
    client.vanish()
    await stage.left_nothing(before)


async def test_nothing_secret_is_kept_in_the_journal(stage: Stage) -> None:
    ticket = stage.ticket()
    client = await stage.connect()
    await client.auth(ticket)
    await client.ready()
    (path,) = stage.service.journal()
    assert set(json.loads(path.read_text())) == {
        "session_id", "instance_id", "container_id", "owner_id", "remote", "opened_at", "end",
    }  # fmt: skip
    assert path.stat().st_mode & 0o077 == 0
