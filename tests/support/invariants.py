"""What must be true of an installation, whatever happened to its provisioner: of objects, directories and words."""

import json
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clawstead_shared.messaging import Bus

STATE, DEAD_LETTERS = "CLAWSTEAD", "CLAWSTEAD_DLQ"
_LABEL = "ing.clawstead"


def of_installation(installation: str) -> dict[str, Any]:
    return {"label": f"{_LABEL}.installation={installation}"}


def check_objects(
    client: Any, installation: str, instances: Path, living: Collection[str], unmade: Collection[str] = ()
) -> None:
    """One container and network per living instance, nothing of others, no port twice, no stray file.

    Of those that are ``unmade``, stopped before anything was made of them, there may be something or nothing.
    """
    found = client.containers.list(all=True, filters=of_installation(installation))
    held = [container.labels[f"{_LABEL}.instance"] for container in found]
    networks = client.networks.list(filters=of_installation(installation))
    joined = [network.attrs["Labels"][f"{_LABEL}.instance"] for network in networks]
    stored = [path.name for path in instances.iterdir()]
    for kind, owners in {"containers": held, "networks": joined, "directories": stored}.items():
        assert sorted(owner for owner in owners if owner not in unmade) == sorted(living), kind
    ports = [container.labels[f"{_LABEL}.port"] for container in found]
    assert len(set(ports)) == len(ports)
    for instance_id in living:
        assert not list((instances / instance_id).rglob(".*.clawstead-new"))
        for name in ("config", "workspace", "auth"):
            found_mode = (instances / instance_id / name).stat()
            assert (found_mode.st_uid, found_mode.st_mode & 0o777) == (1000, 0o700)


async def check_secrecy(
    secrets: Collection[str], client: Any, bus: Bus, installation: str, logs: Iterable[Path], since: datetime
) -> None:
    """No secret in a log line, an event, a label, or anything the engine tells but a container's environment."""
    mine = of_installation(installation)
    until = int(datetime.now(UTC).timestamp())
    words = [path.read_text() for path in logs]
    words += map(json.dumps, client.events(since=int(since.timestamp()), until=until, filters=mine, decode=True))
    for container in client.containers.list(all=True, filters=mine):
        document = dict(container.attrs)
        document["Config"] = {key: value for key, value in document["Config"].items() if key != "Env"}
        words.append(json.dumps(document))
    words += [json.dumps(network.attrs) for network in client.networks.list(filters=mine)]
    words += [*await _messages(bus, STATE), *await _messages(bus, DEAD_LETTERS)]
    for source in words:
        for secret in secrets:
            assert secret not in source


async def _messages(bus: Bus, stream: str) -> list[str]:
    state = (await bus.jetstream.stream_info(stream)).state
    numbers = range(state.first_seq or 1, state.last_seq + 1)
    found = [await bus.jetstream.get_msg(stream, number) for number in numbers]
    return [f"{message.subject} {message.headers} {(message.data or b'').decode()}" for message in found]
