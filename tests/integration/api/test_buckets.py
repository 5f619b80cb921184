"""One suite for the key-value ports, on the fake and on NATS."""

import base64
import contextlib
from collections.abc import AsyncIterator
from typing import Protocol

import pytest
from nacl.public import PrivateKey
from pydantic import ValidationError

from clawstead_api.adapters.nats_buckets import NatsBuckets
from clawstead_api.errors import SealingKeyUnknownError
from clawstead_api.keys import KeyExchange
from clawstead_api.ports import HostDirectory, KeyDirectory, SecretStore
from clawstead_shared.errors import TransientError
from clawstead_shared.hosts import HostBudget
from clawstead_shared.ids import new_instance_id
from clawstead_shared.messaging import Bus
from clawstead_shared.streams import HOSTS_BUCKET, KEYS_BUCKET, SEALING_KEY, SECRETS_BUCKET, TICKET_KEY
from tests.support.api import Api, FakeBuckets
from tests.support.nats_server import NatsServer
from tests.support.wait import wait_until


class Buckets(SecretStore, KeyDirectory, HostDirectory, Protocol):
    """All the ports."""


class Scene:
    """The ports, and a look behind them."""

    def __init__(self, buckets: Buckets, bus: Bus | None) -> None:
        self.buckets = buckets
        self._bus = bus

    async def secret(self, instance_id: str) -> bytes | None:
        if isinstance(self.buckets, FakeBuckets):
            return self.buckets.secrets.get(instance_id)
        assert self._bus
        bucket = await self._bus.bucket(SECRETS_BUCKET)
        return (await bucket.get(instance_id)).value if instance_id in await _keys(bucket) else None

    async def provisioner_publishes(self, key: PrivateKey | None) -> None:
        if isinstance(self.buckets, FakeBuckets):
            self.buckets.provisioner = key
        elif key:
            assert self._bus
            await (await self._bus.bucket(KEYS_BUCKET)).put(SEALING_KEY, base64.b64encode(bytes(key.public_key)))

    async def ticket_key(self) -> bytes | None:
        if isinstance(self.buckets, FakeBuckets):
            return self.buckets.ticket_pem
        assert self._bus
        return (await (await self._bus.bucket(KEYS_BUCKET)).get(TICKET_KEY)).value

    async def host_says(self, host: str, budget: bytes) -> None:
        if isinstance(self.buckets, FakeBuckets):
            with contextlib.suppress(ValidationError):
                self.buckets.hosts.append(HostBudget.read(budget))
        else:
            assert self._bus
            await (await self._bus.bucket(HOSTS_BUCKET)).put(host, budget)


async def _keys(bucket: object) -> list[str]:
    try:
        keys: list[str] = await bucket.keys()  # type: ignore[attr-defined]
    except Exception as error:
        if "NoKeysError" not in type(error).__name__:
            raise
        return []
    return keys


@pytest.fixture(params=["fake", "nats"])
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    if request.param == "fake":
        yield Scene(FakeBuckets(), None)
    else:
        bus: Bus = request.getfixturevalue("bus")
        yield Scene(NatsBuckets(bus), bus)


@pytest.fixture(autouse=True)
def _started(request: pytest.FixtureRequest) -> None:
    # An async fixture cannot be asked for from within another one.
    if "scene" in request.fixturenames and "nats" in request.node.name:
        request.getfixturevalue("bus")


async def test_secrets_are_kept_replaced_and_forgotten(scene: Scene) -> None:
    instance_id = new_instance_id()
    for sealed in (b"one", b"two", b"two"):
        await scene.buckets.put(instance_id, sealed)
        assert await scene.secret(instance_id) == sealed
    for _ in range(2):
        await scene.buckets.forget(instance_id)
        assert await scene.secret(instance_id) is None


async def test_the_sealing_key_is_read_once_it_is_published(scene: Scene) -> None:
    await scene.provisioner_publishes(None)
    assert await scene.buckets.sealing_key() is None
    key = PrivateKey.generate()
    await scene.provisioner_publishes(key)
    assert await scene.buckets.sealing_key() == bytes(key.public_key)


async def test_every_host_that_can_be_read_is_listed(scene: Scene) -> None:
    assert await scene.buckets.host_budgets() == []
    one, two = (HostBudget(memory_bytes=number, cpus=1, instances=1) for number in (1, 2))
    await scene.host_says("one", one.model_dump_json().encode())
    await scene.host_says("broken", b"not JSON")
    await scene.host_says("two", two.model_dump_json()[:-1].encode() + b', "from_the_future": 1}')
    assert sorted((await scene.buckets.host_budgets()), key=lambda budget: budget.memory_bytes) == [one, two]


async def test_the_ticket_key_is_published_and_replaced(scene: Scene) -> None:
    for pem in (b"one", b"one", b"two"):
        await scene.buckets.publish_ticket_key(pem)
        assert await scene.ticket_key() == pem


async def test_a_sealing_key_that_is_none_is_not_used(bus: Bus) -> None:
    bucket = await bus.bucket(KEYS_BUCKET)
    for nonsense in (b"short", b"not base64!", b""):
        await bucket.put(SEALING_KEY, nonsense)
        assert await NatsBuckets(bus).sealing_key() is None


async def test_an_absent_bus_is_a_transient_error(bus: Bus, nats_server: NatsServer) -> None:
    buckets = NatsBuckets(bus)
    await buckets.sealing_key()
    nats_server.kill()
    await wait_until(lambda: not bus.connected)
    for call in (buckets.sealing_key(), buckets.put("k", b"v"), buckets.publish_ticket_key(b"p")):
        with pytest.raises(TransientError):
            await call


async def test_the_sealing_key_is_remembered_when_the_bus_is_away(api: Api) -> None:
    buckets = FakeBuckets()
    buckets.available = False
    keys = KeyExchange(api.database, buckets, b"pem")
    with pytest.raises(SealingKeyUnknownError):
        await keys.sealing_key()
    buckets.available = True
    known = await keys.sealing_key()
    buckets.available = False
    assert await KeyExchange(api.database, buckets, b"pem").sealing_key() == known


async def test_a_new_sealing_key_replaces_the_old_one(api: Api) -> None:
    buckets = FakeBuckets()
    keys = KeyExchange(api.database, buckets, b"pem")
    first = await keys.sealing_key()
    buckets.provisioner = PrivateKey.generate()
    await keys.refresh()
    assert await keys.sealing_key() == bytes(buckets.provisioner.public_key) != first
    assert buckets.ticket_pem == b"pem"


async def test_without_a_sealing_key_a_create_waits_with_a_hint(api: Api) -> None:
    api.buckets.provisioner = None
    async with api.client() as client:
        response = await client.post("/instances", json={"name": "claw", "plan": "pro"})
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "2"
        assert "provisioner has never been seen" in response.json()["detail"]
        assert (await client.get("/instances")).json()["items"] == []


async def test_all_secrets_are_read_at_once_but_for_those_that_were_forgotten(bus: Bus) -> None:
    buckets = NatsBuckets(bus)
    for instance_id in ("a", "b", "c"):
        await buckets.put(instance_id, instance_id.encode())
    await buckets.put("a", b"newer")
    await buckets.forget("b")
    assert {key: sealed async for key, sealed in buckets.deposits()} == {"a": b"newer", "c": b"c"}
    assert (await buckets.created()).tzinfo is not None
