"""``clawstead events`` and ``state`` on a real server, poison included."""

import asyncio
import contextlib
import json
import signal
import subprocess
from collections.abc import Callable

from clawstead_cli.tailing import Tail
from clawstead_shared import topology
from clawstead_shared.errors import TransientError
from clawstead_shared.events import Event, Payload
from clawstead_shared.ids import new_instance_id
from clawstead_shared.messaging import Bus
from clawstead_shared.messaging.log import EVERYTHING
from clawstead_shared.streams import STATE_STREAM
from clawstead_shared.subjects import Topic, subject_of
from tests.integration.cli.installation import Installation
from tests.integration.cli.operator import Operator
from tests.support.factories import desired_event, make_desired, make_observed, observed_event
from tests.support.nats_server import NatsServer
from tests.support.wait import wait_until


async def publish(bus: Bus, *events: Event[Payload]) -> None:
    for event in events:
        await bus.publish(event)


async def test_the_tail_goes_on_when_nats_is_there_again(
    bus: Bus, nats_server: NatsServer, installation: Installation
) -> None:
    await publish(bus, desired_event(make_desired()))
    process = installation.popen("events", "tail", "--json", CLAWSTEAD_NATS_URL=nats_server.url)
    lines: asyncio.Queue[str] = asyncio.Queue()
    reading = asyncio.create_task(asyncio.to_thread(_read, process, lines.put_nowait, asyncio.get_running_loop()))
    try:
        assert await _next_sequence(lines) == 1
        await publish(bus, desired_event(make_desired()))
        assert await _next_sequence(lines) == 2
        nats_server.kill()
        nats_server.start()
        third = desired_event(make_desired())

        async def published() -> int | None:
            with contextlib.suppress(TransientError):
                return await bus.publish(third)
            return None

        assert await wait_until(published, timeout=30, what="the bus is there again") == 3
        assert await _next_sequence(lines) == 3
        process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(process.wait, 10) == 0
    finally:
        process.kill()
        await reading


def _read(process: subprocess.Popen[str], tell: Callable[[str], None], loop: asyncio.AbstractEventLoop) -> None:
    for line in process.stdout or ():
        loop.call_soon_threadsafe(tell, line)


async def _next_sequence(lines: asyncio.Queue[str]) -> int:
    """Return the sequence of the next event; what the command says on standard error is passed over."""
    async with asyncio.timeout(20):
        while not (line := await lines.get()).startswith("{"):
            pass
    sequence: int = json.loads(line)["sequence"]
    return sequence


def test_the_tail_follows_into_a_log_that_begun_anew(operator: Operator) -> None:
    async def follow() -> list[int]:
        events = [desired_event(make_desired()) for _ in range(5)]
        place = Tail(EVERYTHING, 1)
        await publish(operator.bus, *events[:3])
        seen = await place.fresh(operator.bus.log)
        await operator.bus.jetstream.delete_stream(STATE_STREAM)
        await topology.apply(operator.bus.jetstream)
        await publish(operator.bus, events[3])
        seen += await place.fresh(operator.bus.log)
        await publish(operator.bus, events[4])
        seen += await place.fresh(operator.bus.log)
        assert place.begun_anew == 1
        assert [message.event().id for message in seen] == [event.id for event in events]
        return [message.sequence for message in seen]

    assert operator.wait(follow()) == [1, 2, 3, 1, 2]


def test_a_tail_of_one_instance_passes_over_the_others(operator: Operator) -> None:
    mine = make_desired()

    async def follow() -> list[int]:
        place = Tail(subject_of(Topic.DESIRED, mine.instance_id), 1)
        seen = []
        for event in [desired_event(make_desired()), desired_event(mine), desired_event(make_desired())]:
            await publish(operator.bus, event)
            seen += await place.fresh(operator.bus.log)
        return [message.sequence for message in seen + await place.fresh(operator.bus.log)]

    assert operator.wait(follow()) == [2]


def test_poison_in_the_log_stops_no_command(operator: Operator) -> None:
    desired = make_desired()
    instance_id = desired.instance_id
    jetstream = operator.bus.jetstream
    operator.wait(publish(operator.bus, desired_event(desired)))
    odd = {"Status": "404", "Nats-Sequence": "x", "ce-type": "\u00e9"}
    operator.wait(jetstream.publish(subject_of(Topic.OBSERVED, instance_id), b"\xff\x1b[2J", headers=odd))
    operator.wait(jetstream.publish("clawstead.v1.nonsense", b"[" * 50_000))
    operator.wait(publish(operator.bus, observed_event(make_observed(instance_id))))

    tail = operator.run("events", "tail", "--no-follow", "--json")
    assert [json.loads(line)["problem"] is None for line in tail.out.splitlines()] == [True, False, False, True]
    assert [json.loads(line)["sequence"] for line in operator.run(*_LAST_TWO).out.splitlines()] == [3, 4]
    commands = [
        ("events", "tail", "--no-follow"),
        *(("events", "show", str(sequence), *json_too) for sequence in (2, 3) for json_too in ((), ("--json",))),
        ("events", "history", instance_id),
        ("events", "history", instance_id, "--json"),
        ("state",),
        ("state", "--json"),
        ("state", "diff", "1", "now"),
    ]
    for command in commands:
        outcome = operator.run(*command)
        assert (outcome.code, "\x1b" in outcome.out) == (0, False), (command, outcome)
    assert "#2, #3" in operator.run("state").error


_LAST_TWO = ("events", "tail", "--no-follow", "--json", "-n", "2")


def test_the_state_of_then_is_the_newest_of_then(operator: Operator) -> None:
    first, second = make_desired(), make_desired()
    later = first.model_copy(update={"generation": 2})
    operator.wait(publish(operator.bus, *map(desired_event, (first, second, later))))
    time = operator.wait(operator.bus.log.page(start=2, limit=1)).messages[0].stored_at.isoformat()

    def generations(at: str) -> dict[str, int]:
        instances = json.loads(operator.run("state", "--at", at, "--json").out)["instances"]
        return {row["id"]: row["generation"] for row in instances}

    assert generations("1") == {first.instance_id: 1}
    assert generations(time) == {first.instance_id: 1, second.instance_id: 1}
    assert generations("now") == {first.instance_id: 2, second.instance_id: 1}
    assert generations("1d") == {}
    assert "the log begins at" in operator.run("state", "--at", "1d").error
    assert "ends at 3" in operator.run("state", "--at", "99").error
    diff = json.loads(operator.run("state", "diff", "2", "--json").out)["instances"]
    assert [(row["id"], row["kind"]) for row in diff] == [(first.instance_id, "changed")]


def test_what_is_not_there_is_said(operator: Operator) -> None:
    for arguments, code, words in [
        (("events", "show", "1"), 1, "it is empty"),
        (("events", "history", new_instance_id()), 1, "the log has nothing of"),
        (("events", "history", "nonsense"), 2, "not an instance id"),
        (("events", "tail", "--since", "yesterday"), 2, "neither a time nor a sequence"),
    ]:
        outcome = operator.run(*arguments)
        assert (outcome.code, words in outcome.error) == (code, True), outcome.error
    operator.wait(operator.bus.jetstream.delete_stream(STATE_STREAM))
    outcome = operator.run("state")
    assert (outcome.code, "streams apply" in outcome.error) == (1, True)


def test_without_nats_it_is_said_what_is_needed(operator: Operator) -> None:
    operator.server.kill()
    outcome = operator.run("events", "show", "1", "--timeout", "1")
    operator.server.start()
    assert (outcome.code, "NATS" in outcome.error) == (4, True)
