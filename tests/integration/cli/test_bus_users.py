"""What each user of the bus can do and what not, on a real server with the configuration that is generated."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from typing import Any

import nats
import nats.errors
import pytest
from nats.aio.client import Client

from clawstead_cli.bus_users import bus_users
from clawstead_shared import topology
from clawstead_shared.control import Message, Verb
from clawstead_shared.errors import PermanentError
from clawstead_shared.events import Event, Payload, encode
from clawstead_shared.ids import new_instance_id
from clawstead_shared.messaging.control import NobodyAnswersError, ask
from clawstead_shared.streams import (
    ADVISORY_STREAM,
    BUCKETS,
    CONSUMERS,
    DEAD_LETTER_STREAM,
    HEALTH,
    STATE_STREAM,
    STREAMS,
    WRITERS,
)
from clawstead_shared.subjects import Topic, control_subject, dead_letter_subject, subject_of
from tests.support.factories import desired_event, make_desired, make_observed, observed_event
from tests.support.secured_bus import SecuredBus
from tests.support.wait import wait_until

SERVICES = tuple(WRITERS.values())
TOPIC_OF = {writer: topic for topic, writer in WRITERS.items()}
ID = "01jd0000000000000000000000"
STREAM_NAMES = [stream.name for stream in STREAMS] + [f"KV_{bucket.name}" for bucket in BUCKETS]


@pytest.fixture(scope="module")
def secured() -> Iterator[SecuredBus]:
    with SecuredBus() as secured:
        secured.start()
        yield secured


class Reply(Message):
    """An answer of a service."""

    text: str


async def stored(operator: Client) -> dict[str, int]:
    """Return how many messages each stream has taken so far."""
    jetstream = operator.jetstream()
    return {name: (await jetstream.stream_info(name)).state.last_seq for name in STREAM_NAMES}


async def not_denied(client: Client, errors: list[str], subjects: list[str]) -> list[str]:
    """Publish to ``subjects`` and return those that the server did not refuse in time."""
    for subject in subjects:
        await client.publish(subject, b"{}")
    return await not_refused(errors, "publish", subjects)


async def not_refused(errors: list[str], action: str, subjects: list[str]) -> list[str]:
    left = set(subjects)

    def all_refused() -> bool:
        said = "\n".join(errors).lower()
        left.difference_update([name for name in left if f'violation for {action} to "{name}"'.lower() in said])
        return not left

    with contextlib.suppress(AssertionError):
        await wait_until(all_refused, timeout=15)
    return sorted(left)


@pytest.mark.parametrize("name", SERVICES)
async def test_a_service_writes_its_topic_and_reads_the_log(secured: SecuredBus, name: str) -> None:
    bus, event = secured.bus(name), observed_event(make_observed())
    headers, body = encode(event)
    subject = subject_of(TOPIC_OF[name], event.instance_id)
    await bus.connect()
    await bus.require_streams()
    ack = await bus.jetstream.publish(subject, body, headers=headers)
    page = await bus.log.page(subject=subject)
    assert [message.sequence for message in page.messages] == [ack.seq]
    assert (await bus.jetstream.get_last_msg(STATE_STREAM, subject, direct=True)).data == body
    assert [message.sequence for message in await bus.log.newest(subject)] == [ack.seq]
    await bus.close()


@pytest.mark.parametrize("consumer", CONSUMERS, ids=lambda consumer: str(consumer.durable))
async def test_a_service_consumes_sets_aside_and_goes_on(secured: SecuredBus, consumer: Any) -> None:
    seen: list[str] = []

    async def handle(event: Event[Payload]) -> None:
        seen.append(event.id)
        if event.id == poison.id:
            raise PermanentError("never")

    topic = consumer.topics[0]
    event, poison = (make_event(topic), make_event(topic))
    writer, bus = secured.bus(WRITERS[topic]), secured.bus(consumer.durable)
    await writer.connect()
    await bus.connect()
    bus.consume(consumer, dict.fromkeys(consumer.topics, handle))
    await bus.start()
    await writer.publish(poison)
    await writer.publish(event)
    await wait_until(lambda: event.id in seen and poison.id in seen, what="handled")
    operator = await secured.client("operator")

    async def settled() -> bool:
        info = await operator.jetstream().consumer_info(STATE_STREAM, consumer.durable)
        return not info.num_ack_pending

    await wait_until(settled, what="acknowledged")
    letter = await operator.jetstream().get_last_msg(
        DEAD_LETTER_STREAM, dead_letter_subject(consumer.durable, poison.subject)
    )
    assert (letter.headers or {})["x-dlq-reason"] == "never"
    await asyncio.gather(bus.close(), writer.close(), operator.close())


def make_event(topic: Topic) -> Event[Any]:
    return desired_event(make_desired()) if topic is Topic.DESIRED else observed_event(make_observed())


@pytest.mark.parametrize(
    ("user", "topic"),
    [(user, topic) for user in (*SERVICES, "keeper") for topic in Topic if WRITERS[topic] != user],
)
async def test_who_writes_a_topic_that_is_not_its_own_is_denied(secured: SecuredBus, user: str, topic: Topic) -> None:
    errors: list[str] = []
    client, operator = await secured.client(user, errors), await secured.client("operator")
    before = await stored(operator)
    assert await not_denied(client, errors, [subject_of(topic, ID)]) == []
    with pytest.raises(nats.errors.Error):
        await client.jetstream(timeout=0.1).publish(subject_of(topic, ID), b"{}")
    assert await stored(operator) == before
    await asyncio.gather(client.close(), operator.close())


def requests_of(user: str) -> list[tuple[str, bytes]]:
    """Return requests that ``user`` may make, and that the server answers."""
    topic, subject = TOPIC_OF[user], subject_of(TOPIC_OF[user], ID)
    durable = [f"$JS.API.CONSUMER.MSG.NEXT.{STATE_STREAM}.{user}"] if topic is not Topic.TERMINAL else []
    return [
        (subject, b"forged"),
        (f"$JS.API.STREAM.INFO.{STATE_STREAM}", b""),
        (f"$JS.API.DIRECT.GET.{STATE_STREAM}", json.dumps({"last_by_subj": subject}).encode()),
        (f"$JS.API.DIRECT.GET.{STATE_STREAM}.{subject}", b""),
        *((name, b'{"batch": 10, "no_wait": true}') for name in durable),
    ]


@pytest.mark.parametrize("user", SERVICES)
async def test_the_server_writes_no_answer_into_the_log(secured: SecuredBus, user: str) -> None:
    forged = subject_of(Topic.OBSERVED if user == "api" else Topic.DESIRED, new_instance_id())
    own = subject_of(TOPIC_OF[user], ID)
    errors: list[str] = []
    client, operator = await secured.client(user, errors), await secured.client("operator")
    await client.jetstream().publish(own, b"forged")
    for subject, body in requests_of(user):
        await client.publish(subject, body, reply=forged)
    await client.jetstream().publish(own, b"after all of them")
    # With permissions alone the server would: so it does for who lives in the same account.
    await operator.publish(f"$JS.API.DIRECT.GET.{STATE_STREAM}.{own}", b"", reply=forged)

    async def written() -> int:
        info = await operator.jetstream().stream_info(STATE_STREAM, subjects_filter=forged)
        return (info.state.subjects or {}).get(forged, 0)

    assert await wait_until(written, what="the operator's") == 1
    assert not errors
    await asyncio.gather(client.close(), operator.close())


def forbidden(user: str) -> list[str]:
    """Return what ``user`` must not publish, beside foreign topics."""
    others = [name for name in SERVICES if name != user]
    consumers = [consumer.durable for consumer in CONSUMERS if consumer.durable != user]
    subjects = [
        *(f"$JS.API.STREAM.{verb}.{name}" for verb in ("DELETE", "PURGE", "MSG.DELETE") for name in STREAM_NAMES),
        *(f"$JS.API.CONSUMER.DELETE.{STATE_STREAM}.{name}" for name in ("someone",)),
        *(f"$JS.API.CONSUMER.CREATE.{STATE_STREAM}.mine{rest}" for rest in ("", ".clawstead.v1.>")),
        f"$JS.API.CONSUMER.CREATE.{STATE_STREAM}",
        f"$JS.API.CONSUMER.DURABLE.CREATE.{STATE_STREAM}.mine",
        *(
            f"$JS.API.CONSUMER.{verb}.{STATE_STREAM}.{name}"
            for name in consumers
            for verb in ("MSG.NEXT", "RESET", "PAUSE")
        ),
        *(f"$JS.ACK.{STATE_STREAM}.{name}.1.1.1.1.0" for name in consumers),
        *(
            control_subject(name, verb)
            for name in others
            for verb in Verb
            if (user, name, verb) != ("api", "terminal", "logs")
        ),
        f"$KV.CLAWSTEAD_KEYS.{'provisioner.seal' if user == 'api' else 'api.ticket'}",
        *(["$KV.CLAWSTEAD_TICKETS.t"] if user != "terminal" else []),
        *([f"$KV.CLAWSTEAD_SECRETS.{ID}"] if user != "api" else []),
        *(["$KV.CLAWSTEAD_HOSTS.h"] if user != "provisioner" else []),
        *(
            f"$JS.API.{verb}.KV_CLAWSTEAD_SECRETS"
            for verb in ("STREAM.MSG.GET", "DIRECT.GET")
            if user not in {"api", "provisioner"}
        ),
        "$JS.API.STREAM.MSG.GET.KV_CLAWSTEAD_SECRETS.x",
        *(f"_INBOX.{name}.x" for name in others),
        "$SYS.REQ.SERVER.PING",
        "anything",
    ]
    if user == "keeper":
        return subjects
    return [
        *subjects,
        *(f"$JS.API.STREAM.{verb}.{name}" for verb in ("CREATE", "UPDATE") for name in (*STREAM_NAMES, "MINE")),
        *(f"$JS.API.CONSUMER.{verb}.{STATE_STREAM}.{user}" for verb in ("DELETE", "RESET", "PAUSE", "DURABLE.CREATE")),
        *(dead_letter_subject(name, subject_of(Topic.DESIRED, ID)) for name in consumers),
        "clawstead.notice.bus_repaired",
        f"$JS.API.DIRECT.GET.{ADVISORY_STREAM}",
    ]


@pytest.mark.parametrize("user", [*SERVICES, "keeper"])
async def test_what_is_not_listed_is_denied(secured: SecuredBus, user: str) -> None:
    errors: list[str] = []
    client, operator = await secured.client(user, errors), await secured.client("operator")
    before = await stored(operator)
    assert await not_denied(client, errors, forbidden(user)) == []
    assert await stored(operator) == before
    changes = await topology.apply(operator.jetstream())
    assert {change.outcome for change in changes} == {"unchanged"}
    await asyncio.gather(client.close(), operator.close())


@pytest.mark.parametrize("user", [*SERVICES, "keeper"])
async def test_nobody_listens_to_what_is_meant_for_others(secured: SecuredBus, user: str) -> None:
    errors: list[str] = []
    client = await secured.client(user, errors)
    other = "health" if user == "api" else "api"
    foreign = [">", "_INBOX.>", f"_INBOX.{other}.>", f"clawstead.control.{other}.*", "clawstead.v1.desired.*"]
    subjects = [*foreign, "$KV.>", "$JS.>", "$SYS.>", "clawstead.dlq.>"]
    for subject in subjects:
        await client.subscribe(subject)
    assert await not_refused(errors, "subscription", subjects) == []
    await client.close()


async def test_operators_and_the_api_are_answered_and_nobody_else(secured: SecuredBus) -> None:
    async def answer(_: bytes) -> Reply:
        return Reply(text="x" * 100_000)

    terminal = secured.bus("terminal")
    terminal.control.answer(Verb.LOGS, answer)
    await terminal.connect()
    await terminal.control.start(terminal.broker.connection)
    await terminal.broker.connection.flush()
    for user in ("operator", "api"):
        client = await secured.client(user)
        assert len((await ask(client, "terminal", Verb.LOGS, None, Reply, timeout=5)).text) == 100_000
        await client.close()
    client = await secured.client("health")
    with pytest.raises(NobodyAnswersError):
        await ask(client, "terminal", Verb.LOGS, None, Reply, timeout=0.2)
    await asyncio.gather(client.close(), terminal.close())


async def test_the_terminal_hears_what_is_observed_at_once(secured: SecuredBus) -> None:
    """Within moments: nats-server passes nothing on to another account for the first ones of a subscription."""
    heard, said = set[str](), set[str]()

    async def on_message(message: Any) -> None:
        heard.add(message.subject)

    async def is_heard() -> bool:
        event = make_event(Topic.OBSERVED)
        said.add(event.subject)
        await provisioner.publish(event)
        return bool(heard & said)

    terminal, provisioner = secured.bus("terminal"), secured.bus("provisioner")
    await terminal.connect()
    await provisioner.connect()
    await terminal.broker.connection.subscribe("clawstead.v1.observed.*", cb=on_message)
    await wait_until(is_heard, what="heard")
    await asyncio.gather(terminal.close(), provisioner.close())


async def test_buckets_are_read_and_written_by_whom_they_are_for(secured: SecuredBus) -> None:
    api, provisioner, terminal = (secured.bus(name) for name in ("api", "provisioner", "terminal"))
    await asyncio.gather(api.connect(), provisioner.connect(), terminal.connect())
    await (await api.bucket("CLAWSTEAD_SECRETS")).put(ID, b"sealed")
    assert (await (await provisioner.bucket("CLAWSTEAD_SECRETS")).get(ID)).value == b"sealed"
    await (await api.bucket("CLAWSTEAD_SECRETS")).purge(ID)
    await (await api.bucket("CLAWSTEAD_KEYS")).put("api.ticket", b"pem")
    assert (await (await terminal.bucket("CLAWSTEAD_KEYS")).get("api.ticket")).value == b"pem"
    await (await provisioner.bucket("CLAWSTEAD_KEYS")).put("provisioner.seal", b"key")
    await (await provisioner.bucket("CLAWSTEAD_HOSTS")).put("host.example", b"{}")
    assert await api.keys("CLAWSTEAD_HOSTS") == ["host.example"]
    tickets = await terminal.bucket("CLAWSTEAD_TICKETS")
    await tickets.create("t1", b"")
    with pytest.raises(nats.js.errors.KeyWrongLastSequenceError):
        await tickets.create("t1", b"")
    await asyncio.gather(api.close(), provisioner.close(), terminal.close())


async def test_the_keeper_puts_back_what_is_gone_and_its_service_goes_on(secured: SecuredBus) -> None:
    seen: list[str] = []

    async def handle(event: Event[Payload]) -> None:
        seen.append(event.id)

    keeper, operator = await secured.client("keeper"), await secured.client("operator")
    health, provisioner = secured.bus("health"), secured.bus("provisioner")
    await asyncio.gather(health.connect(), provisioner.connect())
    health.consume(HEALTH, {Topic.OBSERVED: handle})
    await health.start()
    try:
        await operator.jetstream().delete_consumer(STATE_STREAM, HEALTH.durable)
        await operator.jetstream().delete_stream(DEAD_LETTER_STREAM)
        changed = {(change.name, change.outcome) for change in await topology.apply(keeper.jetstream())}
    finally:
        await topology.apply(operator.jetstream())  # the other tests have the same bus
    assert {(HEALTH.durable, "created"), (DEAD_LETTER_STREAM, "created")} <= changed
    event = make_event(Topic.OBSERVED)
    await provisioner.publish(event)
    await wait_until(lambda: event.id in seen, what="handled")
    await asyncio.gather(health.close(), provisioner.close(), keeper.close(), operator.close())


async def test_who_is_not_a_user_is_refused(secured: SecuredBus) -> None:
    with SecuredBus() as elsewhere:
        seed = elsewhere.seed_file("operator").read_text()
    for credentials in ({}, {"nkeys_seed_str": seed}, {"user": "operator", "password": ""}, {"user": "operator"}):
        with pytest.raises(nats.errors.Error, match="Authorization Violation"):
            await nats.connect(
                secured.server.url, allow_reconnect=False, connect_timeout=2, error_cb=quiet, **credentials
            )


async def quiet(_: Exception) -> None:
    """Keep nats-py from printing."""


def test_every_user_has_a_key_of_its_own(secured: SecuredBus) -> None:
    assert set(secured.keys) == {user.name for user in bus_users()}
    assert len(set(secured.keys.values())) == len(bus_users()) == 7
    text = secured.server.config
    assert all(key in text for key in secured.keys.values())
    assert all(secured.seed_file(user).read_text() not in text for user in secured.keys)
