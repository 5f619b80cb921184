"""What must be true once the storm is over, whatever it did: each check returns what it found wrong, in words."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from nats.aio.client import Client

from clawstead_shared.control import RebuildReport, Verb
from clawstead_shared.events import Desired, Event, Observed
from clawstead_shared.messaging.control import NobodyAnswersError, RefusedError, ask
from clawstead_shared.messaging.log import Log, Stored
from clawstead_shared.streams import CONSUMERS, DEAD_LETTER_STREAM, SECRETS_BUCKET, STATE_STREAM
from clawstead_shared.subjects import DEAD_LETTER_ROOT
from tests.e2e.chaos.customers import Customers, Made
from tests.e2e.platform import EdgeClient
from tests.support.invariants import check_objects, of_installation

REBUILT = ("api", "proxy-sync", "health")
_REBUILDS = 3
_REBUILD_SECONDS = 60
_ANSWER_OF = {"running": 200, "stopped": 503}
_GONE = 404


async def states(client: EdgeClient, customers: Customers) -> AsyncIterator[str]:
    """Every instance is listed once, at its newest generation, in the state that was asked for last; no others are."""
    answer = await client.api("GET", "/instances", params={"limit": 200})
    listed = {item["id"]: item for item in answer.json()["items"]}
    living = {made.id: made for made in customers.living}
    for stray in listed.keys() - living.keys():
        yield f"{stray} is listed, but was deleted or never accepted"
    for instance_id, made in living.items():
        view = listed.get(instance_id)
        if view is None:
            yield f"{instance_id} was accepted and is not listed"
            continue
        seen = (view["generation"], view["observed_generation"], view["desired_state"], view["phase"])
        wanted = (made.generation, made.generation, made.desired_state, made.desired_state)
        if seen != wanted:
            yield f"{instance_id} is {seen} ({view['reason']}: {view['message']}), wanted {wanted}"


async def sites(client: EdgeClient, customers: Customers) -> AsyncIterator[str]:
    """Each hostname is answered by its own instance, which tells its name, or by the page of a closed route."""

    async def look(made: Made) -> str | None:
        response = await client.site(made.id, "/hostname")
        expected = _ANSWER_OF.get(made.desired_state, _GONE)
        if response.status_code != expected:
            return f"{made.id} ({made.desired_state}) answers {response.status_code}, not {expected}"
        if expected == 200 and response.text.strip() != made.id:
            return f"the hostname of {made.id} reaches {response.text.strip()!r}"
        return None

    for finding in await asyncio.gather(*map(look, customers.made)):
        if finding:
            yield finding


async def objects(
    bus: Client, engine: Any, installation: str, data_dir: Path, customers: Customers
) -> AsyncIterator[str]:
    """One container, network and directory per living instance, none of others, no port twice; stopped ones rest."""
    living = {made.id: made for made in customers.living}
    # What is stopped before a container was made of it, or while an update replaces that, is as wanted without one.
    without = await _without_a_container(bus)
    unmade = {made.id for made in customers.living if made.desired_state == "stopped" and made.id in without}
    instances = data_dir / "instances"
    try:
        await asyncio.to_thread(check_objects, engine, installation, instances, living.keys() - unmade, unmade)
    except AssertionError as error:
        yield f"objects: {error}"
    for container in engine.containers.list(all=True, filters=of_installation(installation)):
        made = living.get(container.labels["ing.clawstead.instance"])
        if made and (container.status == "running") is not (made.desired_state == "running"):
            yield f"the container of {made.id} is {container.status}, wanted {made.desired_state}"
    async for finding in edge(data_dir, customers):
        yield finding


async def edge(data_dir: Path, customers: Customers) -> AsyncIterator[str]:
    """No deleted instance has a line or a gate; closing the gate is urgent, the line is not."""
    routes = [path for path in (data_dir / "proxy-sync").rglob("*") if path.suffix == ".map"]
    gates = {path.name for path in (data_dir / "proxy-sync" / "ready").iterdir()}
    text = "".join(path.read_text() for path in routes)
    deleted = [made.id for made in customers.made if made.desired_state == "deleted"]
    for instance_id in deleted:
        if instance_id in text or instance_id in gates:
            yield f"the edge still knows {instance_id}, which is deleted"


async def secrets_kept(bus: Client, customers: Customers) -> AsyncIterator[str]:
    """The bucket holds the secrets of every living instance, and of no other."""
    # Through the log of the bucket, as the right to list its keys is nobody's: the newest message of each key.
    newest = {message.subject.rpartition(".")[2]: message async for message in _messages(bus, f"KV_{SECRETS_BUCKET}")}
    held = {key for key, message in newest.items() if "KV-Operation" not in message.headers}
    living = {made.id for made in customers.living}
    for instance_id in held - living:
        yield f"the secrets of {instance_id} are still there, but it is deleted"
    for instance_id in living - held:
        yield f"the secrets of {instance_id} are lost"


async def nothing_lost(bus: Client, customers: Customers) -> AsyncIterator[str]:
    """Every change that was accepted is in the log."""
    wanted = [event.data async for event in _events(bus)]
    told = {(data.instance_id, data.generation) for data in wanted if isinstance(data, Desired)}
    for made in customers.made:
        for order in made.orders:
            if (made.id, order.generation) not in told:
                yield f"{order.do} of {made.id}, generation {order.generation}, was accepted and is not in the log"


async def dead_letters(bus: Client, poisoned: Mapping[int, str]) -> AsyncIterator[str]:
    """Every poison was set aside by everyone who reads its topic, and nothing else was."""
    expected = {
        (consumer.durable, sequence)
        for sequence, topic in poisoned.items()
        for consumer in CONSUMERS
        if topic in consumer.topics
    }
    found: dict[tuple[str, int], str] = {}
    async for message in _messages(bus, DEAD_LETTER_STREAM):
        durable = message.headers["x-dlq-consumer"]
        found[durable, int(message.headers["x-dlq-sequence"])] = message.headers["x-dlq-reason"]
    for letter in found.keys() - expected:
        yield f"{letter} was set aside, and is no poison: {found[letter]}"
    for letter in expected - found.keys():
        yield f"{letter} is poison, and was not set aside"


async def caught_up(bus: Client) -> bool:
    """Whether every consumer has handled what is in the log."""
    infos = [await bus.jetstream().consumer_info(STATE_STREAM, consumer.durable) for consumer in CONSUMERS]
    return not any(info.num_pending or info.num_ack_pending for info in infos)


async def rebuilds(bus: Client, services: Iterable[str] = REBUILT) -> AsyncIterator[str]:
    """A projection that is made again from the log is the same each time, and the same as the living one."""
    for service in services:
        digests: list[str] = []
        try:
            for _ in range(_REBUILDS):
                report = await ask(bus, service, Verb.REBUILD, None, RebuildReport, timeout=_REBUILD_SECONDS)
                digests += [report.before, report.after]
        except (RefusedError, NobodyAnswersError) as error:
            yield f"{service} was not rebuilt: {error}"
            continue
        if len(set(digests)) != 1:
            yield f"{service} is not what the log says; before and after each rebuild: {digests}"


async def secrecy(
    bus: Client, engine: Any, installation: str, logs: Collection[Path], since: datetime, secrets: Collection[str]
) -> AsyncIterator[str]:
    """No secret is in a log, in a message, or in what the engine tells of our objects."""
    sources = {path.name: path.read_text(errors="replace") for path in logs}
    mine = of_installation(installation)
    for container in engine.containers.list(all=True, filters=mine):
        told = {name: value for name, value in container.attrs["Config"].items() if name != "Env"}
        sources[f"container {container.name}"] = json.dumps({**container.attrs, "Config": told})
    until = datetime.now(since.tzinfo).timestamp()
    sources["engine events"] = json.dumps(
        list(engine.events(since=int(since.timestamp()), until=int(until), filters=mine, decode=True))
    )
    for stream in (STATE_STREAM, DEAD_LETTER_STREAM):
        texts = [f"{message.headers} {message.body!r}" async for message in _messages(bus, stream)]
        sources[stream] = "\n".join(texts)
    for name, text in sources.items():
        if any(secret in text for secret in secrets):
            yield f"a secret is in {name}"


async def _without_a_container(bus: Client) -> set[str]:
    """Return the instances of which the provisioner told last that there is no container."""
    told = [event.data async for event in _events(bus)]
    newest = {data.instance_id: data for data in told if isinstance(data, Observed)}
    return {instance_id for instance_id, data in newest.items() if data.container_id is None}


async def _events(bus: Client) -> AsyncIterator[Event[Any]]:
    """Yield what is in the log, but for the poison."""
    async for message in _messages(bus, STATE_STREAM):
        with contextlib.suppress(ValueError):
            yield message.event()


def _messages(bus: Client, stream: str) -> AsyncIterator[Stored]:
    subject = {STATE_STREAM: "clawstead.v1.>", DEAD_LETTER_STREAM: f"{DEAD_LETTER_ROOT}.>"}.get(stream, "$KV.>")
    return Log(lambda: bus, stream).read(subject=subject)
