"""``clawstead events replay`` against a service that answers."""

import asyncio
import json
import signal
from datetime import timedelta

import pytest

from clawstead_cli.replaying import Position
from clawstead_shared.errors import TransientError
from clawstead_shared.ids import new_instance_id
from clawstead_shared.messaging import Bus
from clawstead_shared.streams import PROVISIONER
from clawstead_shared.subjects import Topic, subject_of
from tests.integration.cli.installation import Installation
from tests.integration.cli.operator import Operator
from tests.support.factories import desired_event, make_desired
from tests.support.nats_server import NatsServer
from tests.support.recording_service import RecordingService
from tests.support.wait import wait_until

REPLAY = ("events", "replay", "--service", "provisioner")


_AT_ONCE = 200


async def fill(bus: Bus, count: int, instances: int) -> None:
    """Write ``count`` desired events about a few instances in turn."""
    ids = [new_instance_id() for _ in range(instances)]
    desired = [make_desired(ids[number % instances], generation=number // instances + 1) for number in range(count)]
    for start in range(0, count, _AT_ONCE):
        patience = timedelta(seconds=60)
        await asyncio.gather(*(bus.publish(desired_event(one), patience) for one in desired[start : start + _AT_ONCE]))


async def test_an_interrupted_replay_goes_on_where_it_stopped(
    bus: Bus, nats_server: NatsServer, installation: Installation
) -> None:
    await fill(bus, 5000, instances=50)
    path = installation.data_dir / "run" / "replay-provisioner.json"
    service = RecordingService(PROVISIONER)
    service.held_from = 2001
    async with service.running(nats_server.url):
        process = installation.popen(*REPLAY, "--from-seq", "1", "--yes", CLAWSTEAD_NATS_URL=nats_server.url)
        try:
            await wait_until(
                lambda: path.exists() and Position.load(path).next == 2001, timeout=30, what="two pages handled"
            )
            process.send_signal(signal.SIGINT)
            output = (await asyncio.to_thread(process.communicate, timeout=20))[0]
        finally:
            process.kill()
        assert process.returncode == 130, output
        assert "3,000 events left" in output
        assert "--resume" in output
        service.released.set()
        result = await asyncio.to_thread(
            installation.run, *REPLAY, "--resume", "--json", CLAWSTEAD_NATS_URL=nats_server.url
        )
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert (report["read"], report["handled"], report["failed"]) == (5000, 5000, 0)
    assert {event.sequence for event in service.seen[-50:]} == set(range(4951, 5001))
    assert not path.exists()


def test_a_dry_run_tells_every_effect_and_causes_none(operator: Operator) -> None:
    operator.wait(fill(operator.bus, 30, instances=3))
    with operator.service(RecordingService(PROVISIONER)) as service:
        told = operator.run(*REPLAY, "--since", "1h", "--dry-run", "--json")
        shown = operator.run(*REPLAY, "--from-seq", "29", "--dry-run")
    assert json.loads(told.out)["sum"] == {"restart container": 30}
    assert "2 events would cause: 2 x restart container" in shown.out
    assert service.seen == []


def test_what_fails_is_listed_and_the_rest_is_handled(operator: Operator) -> None:
    operator.wait(fill(operator.bus, 3, instances=3))
    operator.wait(operator.bus.jetstream.publish(subject_of(Topic.DESIRED, new_instance_id()), b"\xff poison"))
    with operator.service(RecordingService(PROVISIONER)) as service:
        poisoned = operator.run(*REPLAY, "--from-seq", "1", "--yes")
        service.failure = TransientError("the engine is away")
        failed = operator.run(*REPLAY, "--from-seq", "1", "--up-to", "3", "--yes", "--json")
    assert (poisoned.code, len(service.seen)) == (1, 3)
    assert "#4" in poisoned.error
    assert "3 handled, 1 failed" in poisoned.out
    assert failed.code == 1
    assert {failure["error"] for failure in json.loads(failed.out)["failures"]} == {"the engine is away"}


def test_only_what_is_asked_for_is_handled_again(operator: Operator) -> None:
    operator.wait(fill(operator.bus, 30, instances=3))
    with operator.service(RecordingService(PROVISIONER)) as service:
        first = operator.wait(operator.bus.log.page(limit=1)).messages[0].event()
        report = operator.run(
            *REPLAY, "--instance", first.instance_id, "--up-to", "10", "--rate", "2", "--yes", "--json"
        )
    assert json.loads(report.out)["read"] == 4
    assert {event.instance_id for event in service.seen} == {first.instance_id}
    assert [event.sequence for event in service.seen] == [4, 10]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((*REPLAY, "--from-seq", "1", "--yes"), 4, "provisioner does not run"),
        ((*REPLAY, "--from-seq", "1"), 2, "--yes"),
        (REPLAY, 2, "say which events"),
        ((*REPLAY, "--resume", "--from-seq", "3"), 2, "say which events"),
        ((*REPLAY, "--resume", "--yes"), 1, "no interrupted replay"),
        (("events", "replay", "--service", "terminal", "--from-seq", "1"), 2, "rebuild terminal"),
    ],
)
def test_what_cannot_work_is_refused_with_what_to_do(
    operator: Operator, arguments: tuple[str, ...], code: int, words: str
) -> None:
    outcome = operator.run(*arguments)
    assert (outcome.code, words in outcome.error) == (code, True), outcome.error
